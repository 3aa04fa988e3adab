"""A small load client: streams completions over plain asyncio sockets and notes when each token came.

A general HTTP library costs more processor time per token than the mockers it measures; this one reads lines and
looks at the clock. Prompts are random token ids, so none shares a prefix with another.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Sample", "closed_loop", "mean_ms", "p50_ms", "stream_completion"]

_BYTES = 256
_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished request. ttft_ms: until the first token's event; itl_ms: mean time between later ones."""

    ttft_ms: float
    itl_ms: float
    tokens: int
    started_s: float


async def stream_completion(url: str, model: str, prompt: Sequence[int], osl: int) -> Sample:
    """One streamed `/v1/completions` of exactly `osl` tokens. Raises RuntimeError for any other answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_LINE_BYTES)
    body = json.dumps(
        {
            "model": model,
            "prompt": list(prompt),
            "max_tokens": osl,
            "stream": True,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    try:
        started = time.perf_counter()
        writer.write(head.encode() + body)
        first = last = 0.0
        tokens = 0
        async for line in reader:
            if not line.startswith(b"data: {"):
                if line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                    raise RuntimeError((line + await reader.read()).decode("utf-8", "replace"))
                continue
            now = time.perf_counter()
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(str(event["error"]))
            if event.get("choices"):
                last = now
                first = first or now
            if event.get("usage"):
                tokens = int(event["usage"]["completion_tokens"])
    finally:
        writer.close()
    if tokens != osl or not first:
        raise RuntimeError(f"{tokens} tokens came, {osl} were asked for")
    itl_ms = 1000.0 * (last - first) / (tokens - 1) if tokens > 1 else 0.0
    return Sample(1000.0 * (first - started), itl_ms, tokens, started)


async def closed_loop(
    url: str,
    model: str,
    *,
    isl: int,
    osl: int,
    requests: int,
    concurrency: int,
    ramp_s: float = 0.0,
    spread: float = 0.0,
    seed: int = 0,
) -> list[Sample]:
    """`requests` requests after a warm-up of one per slot, `concurrency` always in flight.

    isl, osl: mean lengths; each is drawn evenly from within `spread` of its mean (0.5: half to one and a half
    times). ramp_s: the slots start spread over this long. Both keep the slots from marching in step. The warm-up is
    not counted, and neither is what ends after the last counted one: the load is whole while it is measured.
    """
    rng = random.Random(seed)

    def length(mean: int) -> int:
        return max(2, round(mean * rng.uniform(1.0 - spread, 1.0 + spread)))

    samples: list[Sample] = []
    done = asyncio.Event()

    async def slot(number: int) -> None:
        await asyncio.sleep(ramp_s * number / concurrency)
        warm = False
        while not done.is_set():
            prompt = [rng.randrange(_BYTES) for _ in range(length(isl))]
            sample = await stream_completion(url, model, prompt, length(osl))
            if warm and not done.is_set():
                samples.append(sample)
            warm = True
            if len(samples) >= requests:
                done.set()

    async with asyncio.TaskGroup() as group:
        for number in range(concurrency):
            group.create_task(slot(number))
    return samples


def p50_ms(values: Sequence[float]) -> float:
    return statistics.median(values)


def mean_ms(values: Sequence[float]) -> float:
    return statistics.fmean(values)
