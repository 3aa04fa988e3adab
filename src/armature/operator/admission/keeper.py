"""Keeps the admission server in certificates: the Secret, the API server's trust in it, and the server's own copy.

One pass, the same on every replica and as often as one likes:

1. read what the API server trusts now (webhook configurations, CRDs);
2. read the Secret; where it is missing or of no use, make one. Of two replicas that do so one is refused, and reads
   what the other made;
3. make the API server trust it, where it does not;
4. serve it, once the API server has had time to hear of 3.

1 before 2 is what makes racing replicas safe: a bundle is patched at the version read in 1, so one that was widened
for a newer Secret in between is never narrowed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from armature.kube.client import Client
from armature.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from armature.kube.kinds import CRD, MUTATING_WEBHOOKS, SECRET, VALIDATING_WEBHOOKS, Kind, Object, name_of
from armature.operator.admission.bundles import bundle_patch
from armature.operator.admission.certificates import (
    KeyPair,
    Verdict,
    generate,
    judge_secret,
    secret_data,
    service_names,
)

__all__ = ["SECRET_NAME", "CertificateSettings", "Keeper", "Mode"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Mode = Literal["automatic", "cert-manager", "external"]
SECRET_NAME = "webhook-server-cert"
_ATTEMPTS = 5
_MENDS: dict[Mode, str] = {
    "automatic": "",
    "cert-manager": "see the Certificate that is to fill it: kubectl describe certificate",
    "external": "put tls.crt, tls.key and ca.crt into it, for the Service's name <service>.<namespace>.svc",
}


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """service, namespace: of the Service that the API server calls. also: further names or addresses that the
    certificate is for. configurations: name of the ValidatingWebhookConfiguration and of the Mutating one. crds: names
    of those with a conversion webhook. interval_s: between passes; retry_s: after one that failed. settle_s: how long
    the API server may take to hear whom to trust.
    """

    service: str
    namespace: str
    mode: Mode = "automatic"
    secret: str = SECRET_NAME
    also: tuple[str, ...] = ()
    configurations: tuple[str, str] = ("", "")
    crds: tuple[str, ...] = ()
    interval_s: float = 30.0
    retry_s: float = 5.0
    settle_s: float = 5.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of an own certificate: every name; of one that others make: the one that the API server uses (WH-05)."""
        names = service_names(self.service, self.namespace)
        return (*(names if self.mode == "automatic" else names[:1]), *self.also)


class Keeper:
    """install: what makes the server use a certificate. now: the wall clock; sleeps are the loop's."""

    def __init__(
        self,
        client: Client,
        settings: CertificateSettings,
        install: Callable[[KeyPair], None],
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._settings = settings
        self._install = install
        self._now = now
        self._served: KeyPair | None = None
        self.problem = "no certificate yet"

    async def run(self) -> None:
        """Passes until cancelled. A pass that fails is said once and made again soon."""
        while True:
            try:
                await self.keep()
                problem = ""
            except ApiError as error:
                problem = str(error)
            if problem and problem != self.problem:
                _log.warning("webhook certificate: %s", problem)
            self.problem = problem
            await asyncio.sleep(self._settings.retry_s if problem else self._settings.interval_s)

    async def keep(self) -> None:
        """One pass. Raises ApiError where a request failed, or where a Secret that others fill cannot be used."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                await self._pass()
            except Conflict:  # another replica wrote at the same time: see what there is now
                if not attempts_left:
                    raise
            else:
                return

    async def _pass(self) -> None:
        trusting = [] if self._settings.mode != "automatic" else await self._trusting()
        verdict = await self._verdict()
        pair, since = verdict.pair, verdict.since
        if pair is None or since is None:
            raise ApiError(f"{self._where} cannot be used: {verdict.problem}", _MENDS[self._settings.mode])
        patched = False
        for kind, obj in trusting:
            patch = bundle_patch(obj, pair.authority_pem, since, self._now())
            if patch:
                await self._client.patch(kind, name_of(obj), "", patch)
                _log.info("caBundle injected into %s %s", kind.kind, name_of(obj))
                patched = True
        if pair == self._served:
            return
        if self._settings.mode == "automatic" and (patched or self._served is not None):
            await asyncio.sleep(self._settings.settle_s)
        self._install(pair)
        _log.info("%s webhook certificate", "serving a new" if self._served else "serving with a")
        self._served = pair

    @property
    def _where(self) -> str:
        return f"Secret {self._settings.namespace}/{self._settings.secret}"

    async def _trusting(self) -> list[tuple[Kind, Object]]:
        """What carries a CA bundle. What is not installed needs none."""
        validating, mutating = self._settings.configurations
        wanted = [(VALIDATING_WEBHOOKS, validating), (MUTATING_WEBHOOKS, mutating)]
        wanted += [(CRD, name) for name in self._settings.crds]
        found = [(kind, await _or_none(self._client.get(kind, name))) for kind, name in wanted if name]
        return [(kind, obj) for kind, obj in found if obj is not None]

    async def _verdict(self) -> Verdict:
        """What the Secret is good for, after it was made or renewed where that is ours to do."""
        verdict = Verdict(None)
        for _ in range(_ATTEMPTS):
            secret = await _or_none(self._client.get(SECRET, self._settings.secret, self._settings.namespace))
            verdict = self._judged(secret)
            if self._settings.mode != "automatic":
                if verdict.pair is not None and verdict.problem:
                    _log.warning("%s: %s", self._where, verdict.problem)
                return verdict
            if not verdict.problem:
                return verdict
            _log.info("cert-rotation: new webhook certificate, %s: %s", self._where, verdict.problem)
            try:
                await self._write(generate(self._settings.names, self._now()), secret)
            except (AlreadyExists, Conflict, NotFound):
                continue  # another replica was faster: what it made is as good
        return verdict

    def _judged(self, secret: Object | None) -> Verdict:
        if secret is None:
            return Verdict(None, "there is none")
        return judge_secret(secret, self._settings.names, self._now())

    async def _write(self, pair: KeyPair, present: Object | None) -> None:
        name, namespace = self._settings.secret, self._settings.namespace
        if present is None:
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": namespace},
                "data": secret_data(pair),
            }
            await self._client.create(SECRET, secret)
            return
        version = {"resourceVersion": present["metadata"]["resourceVersion"]}
        await self._client.patch(SECRET, name, namespace, {"metadata": version, "data": secret_data(pair)})


async def _or_none(getting: Awaitable[_T]) -> _T | None:
    try:
        return await getting
    except NotFound:
        return None
