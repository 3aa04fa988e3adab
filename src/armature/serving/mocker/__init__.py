"""A worker without a GPU: a real scheduler and cache, on predicted step times."""
