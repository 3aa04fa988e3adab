"""The client against a real API server: the tests that tests/unit/kube/test_kube_fake_contract.py runs on the fake."""

from __future__ import annotations

import asyncio

import pytest
from kube_contract import *  # noqa: F403
from kube_contract import install_thing

from armature.kube.connect import connect


@pytest.fixture(scope="module", autouse=True)
def _thing(testbed):
    async def install():
        client = connect(str(testbed.kubeconfig))
        try:
            await install_thing(client)
        finally:
            await client.close()

    asyncio.run(install())


@pytest.fixture
def api(testbed, namespace):
    async def on_the_testbed(scenario):
        client = connect(str(testbed.kubeconfig))
        try:
            await scenario(client, namespace)
        finally:
            await client.close()

    return lambda scenario: asyncio.run(on_the_testbed(scenario))
