"""How frontends and workers talk, and the sockets they listen on."""
