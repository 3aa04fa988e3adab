"""One request's way through the workers: aggregated, or prefill then decode.

Disaggregated, the prefill worker computes the prompt and the first token. That token goes to the client at once,
so TTFT is the prefill's; the decode worker adds the transfer of the KV cache before the second token.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from armature.serving.discovery.base import Role
from armature.serving.frontend.errors import worker_failed, worker_lost
from armature.serving.frontend.metrics import RequestMetrics
from armature.serving.frontend.pool import Model
from armature.serving.transport.client import Stream, WorkerLost
from armature.serving.transport.messages import Finish, Handoff, Output

__all__ = ["Generation"]


class Generation:
    """A request being served. After the first output `cached_tokens` is set; at the end `finish`.

    prompt: packed token ids. max_tokens: None lets the model end by itself.
    """

    def __init__(
        self, model: Model, prompt: bytes, prompt_tokens: int, max_tokens: int | None, metrics: RequestMetrics
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._prompt_tokens = prompt_tokens
        self._max_tokens = max_tokens
        self._metrics = metrics
        self._stream: Stream | None = None
        self.cached_tokens = 0
        self.finish: Finish | None = None

    async def tokens(self) -> AsyncGenerator[list[int], None]:
        """New tokens as they arrive. Raises ApiError: 503 when a worker is lost, 500 when it fails the request."""
        try:
            if not self._model.disaggregated:
                async for output in self._run("agg", "aggregated"):
                    yield output.tokens
                return
            handoff: Handoff | None = None
            async for output in self._run("prefill", "prefill"):
                handoff = output.handoff or handoff
                yield output.tokens
            if handoff is None:
                raise worker_failed("the prefill worker ended without a handoff")
            if self._max_tokens == 1:
                return
            self.finish = None
            async for output in self._run("decode", "decode", handoff):
                yield output.tokens
        except WorkerLost as lost:
            raise worker_lost(str(lost), self._metrics.output_tokens) from None

    def close(self) -> None:
        """Cancels whatever still runs on a worker."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _run(
        self, role: Role, phase: str, handoff: Handoff | None = None
    ) -> AsyncGenerator[Output, None]:
        """The outputs of one worker of `role`, until it is done with the request."""
        self._metrics.stage("route", phase)
        client = self._model.choose(role).client
        self._metrics.stage("dispatch", phase)
        self._stream = stream = client.submit(
            self._prompt, self._max_tokens, prefill_only=role == "prefill", handoff=handoff
        )
        while self.finish is None:
            for output in await stream.next():
                if output.error is not None:
                    raise worker_failed(output.error)
                if handoff is None:
                    self.cached_tokens = output.cached_tokens
                self.finish = output.finish
                yield output
        self.close()
