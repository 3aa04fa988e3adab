"""The command line: parse arguments, call one function of a lower room, print. Nothing is decided here."""
