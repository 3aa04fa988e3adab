"""`python -m armature.serving.frontend`: the frontend as a process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import prometheus_client

from armature.errors import ArmatureError
from armature.serving.discovery.file import FileDiscovery
from armature.serving.frontend.app import make_app
from armature.serving.frontend.http import HttpServer, new_event_loop
from armature.serving.frontend.metrics import FrontendMetrics
from armature.serving.frontend.pool import WorkerPool
from armature.serving.process import announce_ready, on_stop_signals, run_process, start_logging
from armature.serving.router.modes import MODES, chooser_for, mode_note
from armature.serving.transport.listen import listen_tcp

__all__ = ["main"]

log = logging.getLogger("armature.serving.frontend")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the frontend; the exit code."""
    arguments = _parser().parse_args(argv)
    start_logging(arguments.log_level)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
    try:
        chooser_for(arguments.router_mode, Random())
    except ArmatureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return run_process(lambda: _serve(arguments), new_event_loop)


async def _serve(arguments: argparse.Namespace) -> None:
    note = mode_note(arguments.router_mode)
    if note:
        log.warning("%s", note)
    listener = listen_tcp(arguments.host, arguments.port, "--port")
    port: int = listener.getsockname()[1]
    pool = WorkerPool(
        FileDiscovery(Path(arguments.discovery)),
        arguments.namespace,
        router_mode=arguments.router_mode,
        rng=Random(),
        only=frozenset(arguments.model_name),
    )
    metrics = FrontendMetrics(arguments.namespace)
    app = make_app(pool, metrics, max_body=arguments.max_body_bytes)
    server = HttpServer(
        app,
        listener,
        grace_s=arguments.grace_seconds,
        ready=lambda: announce_ready(port, host=arguments.host),
    )
    on_stop_signals(server.stop)
    following = asyncio.create_task(pool.run())
    following.add_done_callback(lambda _: server.stop())
    try:
        await server.run_until_stopped()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="armature.serving.frontend", description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 picks a free one")
    parser.add_argument(
        "--discovery", required=True, metavar="DIR", help="directory that workers register in"
    )
    parser.add_argument("--namespace", required=True, help="namespace whose workers are served")
    parser.add_argument("--router-mode", default="round-robin", help=f"one of {', '.join(MODES)}")
    parser.add_argument(
        "--model-name",
        action="append",
        default=[],
        help="serve only this model (repeatable; default: all found)",
    )
    parser.add_argument(
        "--max-body-bytes", type=int, default=32 * 1024 * 1024, help="largest request body (default 32 MiB)"
    )
    parser.add_argument(
        "--grace-seconds", type=float, default=4.0, help="how long running requests may finish after SIGTERM"
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
