"""`python -m armature.serving.mocker`: a worker whose engine computes nothing and takes the right time for it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import math
import os
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zmq.asyncio

from armature.errors import InvalidInput, Problem
from armature.perf.steptable import StepTable, TableTimes
from armature.serving.discovery.base import Discovery, Instance, ModelCard
from armature.serving.discovery.file import FileDiscovery
from armature.serving.frontend.tokens import load_tokeniser
from armature.serving.mocker.engine import Engine, EngineLimits
from armature.serving.mocker.metrics import WorkerMetrics
from armature.serving.mocker.system_server import SystemServer
from armature.serving.mocker.text import Speaker
from armature.serving.mocker.worker import MockWorker
from armature.serving.process import (
    announce_ready,
    on_stop_signals,
    precise_event_loop,
    run_process,
    start_logging,
)
from armature.serving.transport.listen import listen_tcp
from armature.serving.transport.server import WorkerServer

__all__ = ["main"]

HEARTBEAT_S = 1.0
"""Seconds between two refreshes of the discovery record."""

log = logging.getLogger("armature.serving.mocker")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the worker; the exit code."""
    arguments = _parser().parse_args(argv)
    start_logging(arguments.log_level)
    return run_process(lambda: _serve(arguments), precise_event_loop)


async def _serve(arguments: argparse.Namespace) -> None:
    _check(arguments)
    clock = _read_step_table(Path(arguments.step_table))
    limits = EngineLimits(
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        max_model_len=arguments.max_model_len,
        block_size=arguments.block_size,
        num_gpu_blocks=arguments.num_gpu_blocks,
        dp=arguments.dp,
        enable_prefix_caching=arguments.enable_prefix_caching,
    )
    tokeniser = load_tokeniser(Path(arguments.tokenizer) if arguments.tokenizer else None)
    log.info("tokeniser: %s", tokeniser.description)
    listener = listen_tcp(arguments.host, arguments.system_port, "--system-port")
    system_port: int = listener.getsockname()[1]

    instance_id = f"{arguments.component}-{uuid.uuid4().hex[:10]}"
    worker = MockWorker(
        Engine(limits, clock),
        Speaker(tokeniser, arguments.seed),
        instance_id,
        speedup=arguments.speedup_ratio,
        kv_transfer_ms_per_token=arguments.kv_transfer_ms_per_token,
        host_ms=clock.host_ms,
    )
    metrics = WorkerMetrics(worker, arguments.served_model_name)
    context = zmq.asyncio.Context()
    server = WorkerServer(context, worker, arguments.host)
    instance = Instance(
        arguments.namespace,
        arguments.component,
        instance_id,
        arguments.role,
        server.address,
        socket.gethostname(),
        os.getpid(),
        _card(arguments),
        f"{arguments.host}:{system_port}",
        time.time(),
    )
    health = json.dumps({"status": "healthy", "instance_id": instance_id, "role": arguments.role}).encode()
    system = SystemServer(
        listener,
        {
            "/health": lambda: (200, "application/json", health),
            "/live": lambda: (200, "application/json", b'{"status":"live"}'),
            "/metrics": lambda: (200, "text/plain; version=0.0.4; charset=utf-8", metrics.render()),
        },
    )
    discovery = FileDiscovery(Path(arguments.discovery))
    await system.start()
    await _run(worker, server, discovery, instance, system_port, arguments.grace_seconds)
    await system.close()
    server.close()
    context.term()


async def _run(
    worker: MockWorker,
    server: WorkerServer,
    discovery: Discovery,
    instance: Instance,
    system_port: int,
    grace_s: float,
) -> None:
    """Serves until a stop signal, then takes no more and finishes what runs, for at most `grace_s` seconds."""
    stopping = asyncio.Event()
    on_stop_signals(stopping.set)
    gc.collect()
    gc.freeze()  # what lives now lives for good: no collection need look at it during a step
    serving = asyncio.create_task(_together(worker, server, discovery, instance))
    stop = asyncio.create_task(stopping.wait())
    try:
        await discovery.register(instance)
        log.info("%s (%s) serves %s on %s", *_named(instance))
        announce_ready(system_port, instance_id=instance.instance_id)
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        await discovery.unregister(instance)
        if not serving.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await worker.drained()
    finally:
        stop.cancel()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def _together(
    worker: MockWorker, server: WorkerServer, discovery: Discovery, instance: Instance
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        group.create_task(worker.run(server))
        group.create_task(_heartbeat(discovery, instance))


async def _heartbeat(discovery: Discovery, instance: Instance) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await discovery.heartbeat(instance)


def _named(instance: Instance) -> tuple[str, str, str, str]:
    return instance.instance_id, instance.role, instance.card.name, instance.address


def _card(arguments: argparse.Namespace) -> ModelCard:
    return ModelCard(
        name=arguments.served_model_name,
        model=arguments.model,
        max_model_len=arguments.max_model_len,
        block_size=arguments.block_size,
        kv_blocks=arguments.num_gpu_blocks,
        dp=arguments.dp,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        tokenizer=str(Path(arguments.tokenizer).resolve()) if arguments.tokenizer else None,
    )


def _read_step_table(path: Path) -> TableTimes:
    try:
        return TableTimes(msgspec.json.decode(path.read_bytes(), type=StepTable))
    except OSError as error:
        problem = Problem(
            "--step-table", f"cannot be read: {error.strerror}", "`armature up` writes one", str(path)
        )
    except msgspec.MsgspecError as error:
        problem = Problem(
            "--step-table", f"is not a step table: {error}", "`armature up` writes one", str(path)
        )
    raise InvalidInput("armature.serving.mocker", [problem])


def _check(arguments: argparse.Namespace) -> None:
    """Every wrong number at once."""
    counts = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "num_gpu_blocks", "dp")
    problems = [
        Problem(_flag(name), "must be at least 1", value=getattr(arguments, name))
        for name in counts
        if getattr(arguments, name) < 1
    ]
    if not (math.isfinite(arguments.speedup_ratio) and arguments.speedup_ratio > 0):
        rule = "must be a number above 0 (below 1 slows down)"
        problems.append(Problem("--speedup-ratio", rule, value=arguments.speedup_ratio))
    if not (math.isfinite(arguments.kv_transfer_ms_per_token) and arguments.kv_transfer_ms_per_token >= 0):
        value = arguments.kv_transfer_ms_per_token
        problems.append(Problem("--kv-transfer-ms-per-token", "must not be negative", value=value))
    if problems:
        raise InvalidInput("armature.serving.mocker", problems)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="armature.serving.mocker", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="the checkpoint that this worker stands for")
    add("--served-model-name", required=True, help="name that clients ask for")
    add("--discovery", required=True, metavar="DIR", help="directory to register in")
    add("--namespace", required=True)
    add("--component", required=True, help="name of this worker's component in the graph")
    add("--role", choices=("agg", "prefill", "decode"), default="agg")
    add("--step-table", required=True, metavar="FILE", help="step times of the engine, JSON")
    add("--max-num-seqs", type=int, default=256, help="sequences running at once, per attention-DP rank")
    add("--max-num-batched-tokens", type=int, default=8192, help="tokens computed per step, per rank")
    add("--max-model-len", type=int, default=32768, help="tokens of a request, prompt and output")
    add("--block-size", type=int, default=16, help="tokens of a KV block")
    add("--num-gpu-blocks", type=int, default=16384, help="KV blocks per rank")
    add("--dp", type=int, default=1, help="attention-DP ranks of this worker")
    add("--speedup-ratio", type=float, default=1.0, help="engine time per wall time; below 1 slows down")
    add("--tokenizer", metavar="DIR", help="directory with tokenizer.json; without, one byte is one token")
    add(
        "--kv-transfer-ms-per-token",
        type=float,
        default=0.0,
        help="decode role: KV transfer per prompt token",
    )
    add("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True)
    add("--seed", type=int, default=0, help="another seed, another text")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--system-port", type=int, default=0, help="port of /health, /live and /metrics; 0 picks a free one")
    add("--grace-seconds", type=float, default=3.0, help="how long running requests may finish after SIGTERM")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
