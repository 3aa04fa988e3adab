"""A Profile with what would change it: relaxations, and, where it misses something, what would meet it.

Apart from the search itself, for it asks the search a dozen times: the command line does, `profile` does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from msgspec import structs

from armature.hardware.catalog import Gpu
from armature.perf.estimate import Estimator
from armature.search.candidates import Swept
from armature.search.nearest import nearest
from armature.search.profile import Profile
from armature.search.relax import relaxations
from armature.search.vary import Ask

__all__ = ["MOST_LAYOUTS", "advised"]


MOST_LAYOUTS = 300_000
"""Predicted layouts of a search that is asked again: so many take about a second."""


def advised(
    profile: Profile,
    swept: Swept,
    estimator: Estimator,
    *,
    catalogue: Iterable[Gpu] = (),
    most_layouts: int = MOST_LAYOUTS,
) -> Profile:
    """The profile of this sweep with its relaxations and suggestions; a search of more than `most_layouts` is not asked
    again, and a note says so.

    estimator: the one that the sweep used. catalogue: GPUs to suggest where nothing meets the SLA, besides those whose
    price is given.
    """
    layouts = sum(asdict(swept.verdicts).values())
    if layouts > most_layouts:
        note = (
            f"What would change the choice was not looked at: {layouts:,} predicted layouts are too many to search a "
            "dozen times. One backend, or fewer GPUs, make it possible."
        )
        return structs.replace(profile, notes=(*profile.notes, note))
    ask = Ask(estimator, swept.engines.known)
    return structs.replace(
        profile, relaxations=relaxations(swept, ask), suggestions=nearest(swept, ask, catalogue)
    )
