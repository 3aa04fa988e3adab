"""The command line: parse arguments, call one function of a lower room, print. Nothing is decided here."""

import os

# pydantic asks every installed package for plugins, at a twentieth of the time of a plan; none has a say in our types.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
