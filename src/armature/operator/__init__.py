"""The operator: the kinds of `nvidia.com` made true in a cluster."""
