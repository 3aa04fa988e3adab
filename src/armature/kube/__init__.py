"""Talking to a Kubernetes API server: kinds, client, reflector and cache, lease, events, and a fake server."""
