"""A real Kubernetes control plane as ordinary processes in a network namespace of their own (docs/testbed.md)."""
