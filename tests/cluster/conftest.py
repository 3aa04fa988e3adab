"""What the tests on a real control plane share: the testbed they run in, and a namespace each.

`make cluster` runs them inside a testbed of their own; without one they skip, with a line that says so.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from armature_testbed.simulate import make_namespace
from armature_testbed.testbed import Testbed

_OUTSIDE = "not inside a testbed; run them all with: make cluster"
_numbers = itertools.count(1)


def pytest_collection_modifyitems(config, items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.cluster)
        if Testbed.here() is None:
            item.add_marker(pytest.mark.skip(_OUTSIDE))


def pytest_terminal_summary(terminalreporter):
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if _OUTSIDE in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.write_line(f"tests/cluster: {len(skipped)} skipped, {_OUTSIDE}")


@pytest.fixture(scope="session")
def testbed() -> Testbed:
    """The control plane that this process runs in."""
    found = Testbed.here()
    assert found is not None
    return found


@pytest.fixture
def namespace(testbed):
    """A namespace of the test's own, in which pods can be created; removed with all that is in it."""
    name = f"test-{next(_numbers)}"
    make_namespace(testbed, name)
    yield name
    testbed.kubectl("delete", "namespace", name, "--wait=false")
