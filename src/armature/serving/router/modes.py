"""Router modes by name. `round-robin`, `random` and `least-loaded` work; the rest says what happens instead."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from armature.errors import InvalidInput, Problem
from armature.serving.router.base import Chooser, WorkerView

__all__ = ["MODES", "LeastLoaded", "RandomChoice", "RoundRobin", "chooser_for", "mode_note"]

MODES = ("round-robin", "random", "least-loaded", "kv", "device-aware-weighted", "direct")

_STANDS_IN = {
    "kv": ("round-robin", "KV-aware routing is not built yet: requests are routed round-robin"),
    "device-aware-weighted": (
        "least-loaded",
        "all workers here are of one device class, for which device-aware-weighted is least-loaded: using that",
    ),
}


class RoundRobin:
    """The next worker by id after the last chosen one; workers may come and go between calls."""

    def __init__(self) -> None:
        self._last = ""

    def choose(self, workers: Sequence[WorkerView]) -> WorkerView:
        chosen = next((worker for worker in workers if worker.instance_id > self._last), workers[0])
        self._last = chosen.instance_id
        return chosen


class RandomChoice:
    """Any worker, each as likely."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def choose(self, workers: Sequence[WorkerView]) -> WorkerView:
        return self._rng.choice(workers)


class LeastLoaded:
    """The worker with the fewest requests of ours in flight; ties are broken at random, so that several
    frontends do not all prefer the same one."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def choose(self, workers: Sequence[WorkerView]) -> WorkerView:
        least = min(worker.in_flight for worker in workers)
        return self._rng.choice([worker for worker in workers if worker.in_flight == least])


def mode_note(mode: str) -> str | None:
    """What the user must know about a mode that another one stands in for; None where it does what it says."""
    return _STANDS_IN[mode][1] if mode in _STANDS_IN else None


def chooser_for(mode: str, rng: Random) -> Chooser:
    """A new chooser. Raises InvalidInput for `direct` (it needs an external selector) and unknown modes."""
    effective = _STANDS_IN[mode][0] if mode in _STANDS_IN else mode
    if effective == "round-robin":
        return RoundRobin()
    if effective == "random":
        return RandomChoice(rng)
    if effective == "least-loaded":
        return LeastLoaded(rng)
    rule = (
        "needs an external selector that names the worker, which is not built yet"
        if mode == "direct"
        else f"must be one of {', '.join(MODES)}"
    )
    raise InvalidInput(
        "router", [Problem("--router-mode", rule, "use round-robin, random or least-loaded", mode)]
    )
