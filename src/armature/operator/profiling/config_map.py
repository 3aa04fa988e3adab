"""Writes what profiling says into the ConfigMap that the operator reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from armature.kube.client import Client
from armature.kube.errors import ApiError, Forbidden, Invalid, NotFound
from armature.kube.kinds import CONFIG_MAP
from armature.operator.profiling.report import Data

__all__ = ["ConfigMapWriter"]

_PATIENCE_S = 120.0
_LASTING = (Forbidden, Invalid, NotFound)


class ConfigMapWriter:
    """A `Writer` for a program without a loop of its own; a context that closes the client. An API server that is away
    for up to two minutes delays a write. Raises ApiError when it is away for longer, or will never take it.

    sleep: between two tries, seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        name: str,
        namespace: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name, self._namespace, self._sleep = name, namespace, sleep
        self._runner = asyncio.Runner()
        self._client = connect()

    def __enter__(self) -> ConfigMapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __call__(self, data: Data) -> None:
        waited, wait = 0.0, 0.5
        while True:
            try:
                self._runner.run(self._client.patch(CONFIG_MAP, self._name, self._namespace, data))
            except ApiError as error:
                if isinstance(error, _LASTING) or waited >= _PATIENCE_S:
                    raise
                self._sleep(wait)
                waited, wait = waited + wait, min(2 * wait, 10.0)
            else:
                return
