"""The Job's words reach the ConfigMap, also past an API server that is away for a while."""

from __future__ import annotations

import asyncio

import pytest

from armature.kube.errors import Forbidden, Unavailable
from armature.kube.fake import FakeCluster
from armature.kube.kinds import CONFIG_MAP
from armature.operator.profiling.config_map import ConfigMapWriter
from armature.operator.profiling.report import Running, outcome_of, told


def cluster():
    made = FakeCluster()
    metadata = {"name": "out", "namespace": "ml"}
    asyncio.run(made.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    return made


def test_written_despite_an_outage():
    there, slept = cluster(), []
    there.fail(Unavailable("no connection"), "patch", times=5)
    with ConfigMapWriter(lambda: there, "out", "ml", slept.append) as write:
        write(told("SweepingDecode"))
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0]
    outcome = outcome_of(asyncio.run(there.get(CONFIG_MAP, "out", "ml")))
    assert isinstance(outcome, Running)
    assert outcome.step == "SweepingDecode"


@pytest.mark.parametrize(("error", "tries"), [(Forbidden("no"), 1), (Unavailable("away"), 17)])
def test_given_up_at_once_when_it_will_never_do_and_after_two_minutes_otherwise(error, tries):
    there = cluster()
    there.fail(error, "patch", times=100)
    with ConfigMapWriter(lambda: there, "out", "ml", lambda _: None) as write, pytest.raises(type(error)):
        write(told("Done"))
    assert sum(call.verb == "patch" for call in there.calls) == tries
