"""Serving an OpenAI API over workers: frontend, router, discovery, transport, and the mocker engine."""
