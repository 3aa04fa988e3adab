"""The fake API server as the `api` of the contract tests."""

from __future__ import annotations

import pytest

from armature.kube.fake import FakeCluster
from armature.kube.virtual_time import run_in_virtual_time, virtual_now


@pytest.fixture
def api():
    async def on_a_fake(scenario):
        await scenario(FakeCluster(now=virtual_now), "contract")

    return lambda scenario: run_in_virtual_time(on_a_fake(scenario))
