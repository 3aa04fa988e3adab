"""Armature deploys LLM inference by intent: a request in, a running deployment and its reasons out."""

__all__ = ["__version__"]

__version__ = "0.1.0"
