"""Profiling inline: requests answered in processes of the operator's own, one at a time in each.

Nothing of it is remembered beyond the process: an operator that starts again asks again, and the same request and GPUs
have the same plan.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from armature.errors import ArmatureError
from armature.hardware.inventory import Inventory
from armature.operator.profiling.answer import Answer, Failure, Outcome, Running, another_point, answer_of
from armature.perf.estimate import Estimator

__all__ = ["Pool", "Work"]

Work = tuple[str, str]
"""What is worked on: the request's uid, and what is asked of it (a generation, a point)."""


class Pool:
    """Answers in other processes. done: called, in the loop's thread, with the work whose outcome is there."""

    def __init__(self, workers: int, done: Callable[[Work], None]) -> None:
        self._workers, self._done = workers, done
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Work, Future[Answer | Failure]] = {}

    def outcome(self, work: Work) -> Outcome | None:
        """Where the work stands; None when it was not given here."""
        future = self._running.get(work)
        if future is None:
            return None
        if not future.done():
            return Running()
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenProcessPool):
            return Failure("the process that planned it died; it may have run out of memory")
        return Failure(f"{type(error).__name__}: {error} (a bug in Armature)")

    def answer(
        self, work: Work, request: Mapping[str, Any], found: Inventory | None, point: str | None = None
    ) -> None:
        """Begins to answer a request, unless that is under way. point: another one of its plan than the pick."""
        self._give(work, _answer, dict(request), found, point)

    def point_of(self, work: Work, profile: bytes, point: str) -> None:
        """Begins to make the graph of a point of a profile that is there."""
        self._give(work, _point, profile, point)

    def forget(self, uid: str) -> None:
        """Drops what belongs to a request that is gone or goes another way."""
        for work in [work for work in self._running if work[0] == uid]:
            self._running.pop(work).cancel()

    def close(self) -> None:
        """Ends the processes, whatever they are at."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _give(self, work: Work, function: Callable[..., Answer | Failure], *arguments: Any) -> None:
        if work in self._running:
            return
        loop = asyncio.get_running_loop()
        try:
            future = self._processes().submit(function, *arguments)
        except BrokenProcessPool:
            self._pool = None
            future = self._processes().submit(function, *arguments)
        self._running[work] = future
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done, work))

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, _end_with_parent)
        return self._pool


_source: Estimator | None = None  # of this process: engines are sampled once


def _estimator() -> Estimator:
    global _source
    if _source is None:
        from armature.flow import step_times

        _source = step_times("auto")
    return _source


def _answer(request: dict[str, Any], found: Inventory | None, point: str | None) -> Answer | Failure:
    try:
        return answer_of(request, found=found, point=point, estimator=_estimator())
    except ArmatureError as error:
        return Failure.of(error)


def _point(profile: bytes, point: str) -> Answer | Failure:
    try:
        return another_point(profile, point)
    except ArmatureError as error:
        return Failure.of(error)


def _end_with_parent() -> None:
    """The operator may be killed where it stands; what it started ends all the same."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
