"""The fake API server answers as a real one does: the tests that tests/cluster/test_kube_contract.py runs there."""

from kube_contract import *  # noqa: F403
