"""A node whose pods are real processes of this machine: a small kubelet for Armature's own images (issue 5 §1).

The decisions are pure (`environment`, `volumes`, `probes`, `lifecycle`, `status`, `images`, `hosts`, `endpoints`);
`launch` makes a container's namespaces and becomes its process; `agent` joins them to the API server.
"""
