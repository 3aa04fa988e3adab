"""What every serving process does alike: logs to stderr, stops on a signal, says when it is ready."""

from __future__ import annotations

import asyncio
import json
import logging
import selectors
import signal
import sys
from collections.abc import Callable, Coroutine

from armature.errors import ArmatureError

__all__ = ["announce_ready", "on_stop_signals", "precise_event_loop", "run_process", "start_logging"]


def start_logging(level: str) -> None:
    """Logs to stderr: stdout belongs to the ready line."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def announce_ready(port: int, **more: object) -> None:
    """Prints the one line on stdout that a supervisor waits for. A closed stdout is the supervisor's business."""
    print(json.dumps({"ready": True, "port": port, **more}), flush=True)


def precise_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are late by tens of microseconds instead of up to a millisecond: `epoll` counts
    whole milliseconds, `select` does not. For processes with few connections (`select` takes 1024 descriptors)."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def on_stop_signals(stop: Callable[[], None]) -> None:
    """Calls `stop` on SIGTERM and SIGINT, within the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def run_process(
    main: Callable[[], Coroutine[None, None, None]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> int:
    """Runs `main` to its end; the exit code. A foreseen error is printed, without a traceback."""
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except ArmatureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
