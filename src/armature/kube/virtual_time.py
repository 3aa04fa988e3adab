"""An event loop whose time jumps: what would wait an hour is done at once, and always in the same order.

Code that lives in time (a reflector's back-off, a lease, a work queue) uses asyncio's own sleeps and timeouts and reads
`loop.time()`; a test runs it here, exactly and fast. Ships with the package, beside the fake API server.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time", "virtual_now"]

_T = TypeVar("_T")
_START = datetime(2026, 1, 1, tzinfo=UTC)
_STUCK_S = 5.0


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: where nothing is ready it moves the loop's time to the next timer."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # only a thread or a socket can wake this loop
            ready = super().select(_STUCK_S)
            if not ready:
                raise RuntimeError("Every task waits for something that nobody will do.")
            return ready
        self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds. Real sockets and threads work but take no time."""

    def __init__(self) -> None:
        self._now_s = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._now_s

    def jump(self, seconds: float) -> None:
        self._now_s += seconds


def run_in_virtual_time(main: Coroutine[Any, Any, _T]) -> _T:
    """`asyncio.run` on such a loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def virtual_now() -> datetime:
    """The wall clock of a running virtual loop: the first of January 2026, and on from there."""
    return _START + timedelta(seconds=asyncio.get_running_loop().time())
