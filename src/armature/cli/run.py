"""The commands that run a graph on this machine: `up`, `status`, `logs`, `down`."""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
