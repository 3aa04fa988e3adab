"""Listening sockets, the same way everywhere: a taken port is one clear error, and small writes are never held."""

from __future__ import annotations

import errno
import socket

from armature.errors import StartFailed

__all__ = ["listen_tcp", "set_nodelay"]

_BACKLOG = 2048


def listen_tcp(host: str, port: int, flag: str) -> socket.socket:
    """A bound socket on `host`; port 0 picks a free one. `flag` is the option to name in the error.

    Raises StartFailed when the address cannot be had. TCP_NODELAY is set on the listener: Linux hands it on to
    accepted sockets. The protocol number is explicit because asyncio takes it for granted before it sets
    TCP_NODELAY itself.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_nodelay(listener)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartFailed(
                f"Port {port} on {host} is in use: stop what listens there, or choose another with {flag}"
                f" ({flag} 0 picks a free one)."
            ) from None
        raise StartFailed(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None
    listener.setblocking(False)
    return listener


def set_nodelay(sock: socket.socket) -> None:
    """Sends small writes at once. With Nagle's algorithm a token waits for the client's delayed acknowledgement of
    the one before it: 40 ms on a re-used connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
