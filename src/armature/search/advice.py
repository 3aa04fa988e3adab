"""A Profile with what would change it: relaxations, and, where it misses something, what would meet it.

Apart from the search itself, for it asks the search a dozen times: the command line does, `profile` does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from armature.hardware.catalog import Gpu
from armature.perf.estimate import Estimator
from armature.search.candidates import Swept
from armature.search.nearest import nearest
from armature.search.profile import Profile
from armature.search.relax import relaxations
from armature.search.vary import asker

__all__ = ["advised"]


def advised(
    profile: Profile, swept: Swept, estimator: Estimator, *, catalogue: Iterable[Gpu] = ()
) -> Profile:
    """The profile of this sweep with its relaxations and suggestions.

    estimator: the one that the sweep used. catalogue: GPUs to suggest where nothing meets the SLA, besides those whose
    price is given.
    """
    ask = asker(estimator)
    return structs.replace(
        profile, relaxations=relaxations(swept, ask), suggestions=nearest(swept, ask, catalogue)
    )
