"""What holds for every test: where a tool is missing a suite may skip, but not in CI, which has all of them."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from armature.perf.silicon import library

# A busy machine makes a test slow, not wrong. CI looks at twice as many examples, the same in every run: what a person
# finds with others is a bug to mend, not a reason for a change beside it to fail.
_CI = bool(os.environ.get("CI"))
settings.register_profile("armature", deadline=None, max_examples=100 if _CI else 50, derandomize=_CI)
settings.load_profile("armature")
# Under nohup SIGHUP is ignored, and so it would be by every process a test starts and then hangs up on.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No test reads or fills the user's own cache; those of one session share one, as a user's runs would.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="armature-test-cache-")
    os.environ["ARMATURE_CACHE"] = _cache.name


@pytest.fixture(scope="session", autouse=True)
def _tables_stay_open() -> Iterator[None]:
    """Tests ask for more systems in turn than a plan does: each one's tables are read once, not once a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_OPEN", 32)
        yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"CI fails on a skip; {len(skipped)} skipped:", red=True)
        for report in skipped:
            reporter.write_line(f"  {report.nodeid}: {report.longrepr[2]}")
