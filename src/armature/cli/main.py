"""The `armature` command: its commands by name, and the one place where an error becomes an exit code.

Only typer is imported here; each command imports its rooms when it runs, so that `--help` is immediate.
"""

from __future__ import annotations

import copy
import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from armature import __version__
from armature.cli import (
    choose,
    compare,
    demo,
    explain,
    generate,
    look,
    manifests,
    options,
    plan,
    profile,
    run,
)
from armature.errors import ArmatureError, OutputFailed

__all__ = ["EXIT_CODES", "app", "main"]

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an error that none of the others names",
    2: "a file or an option is wrong",
    3: "the model or the hardware is unknown",
    4: "nothing fits the hardware",
    5: "the SLA is missed (with --strict-sla)",
    6: "the graph cannot start (preflight)",
    7: "a process did not start, a port is in use",
    8: "a result could not be written",
    9: "the Kubernetes API server refused, or could not be reached",
    70: "a bug in Armature",
    130: "interrupted (Ctrl-C)",
    141: "the reader of the output went away",
}

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    name="armature",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
for _module in (plan, explain, compare, generate, choose, run, look, manifests, demo, profile):
    _module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"armature {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _armature(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Deploy LLM inference by intent: say the model, the load and the SLA; get a running deployment."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Every foreseen error is printed to stderr as `error: ...`."""
    if arguments is not None:
        return _run(list(arguments))
    gc.set_threshold(200_000)  # this process is the command: it makes much that lives, and little garbage
    code = _run(sys.argv[1:])
    gc.freeze()  # what is left goes with the process: a last search for garbage takes longer than some commands
    return code


def _run(arguments: list[str]) -> int:
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        result = _narrowed(arguments)(args=arguments, standalone_mode=False, prog_name="armature")
        sys.stdout.flush()
    except ArmatureError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (BrokenPipeError, SystemExit):  # SystemExit is how typer answers a closed pipe
        _swallow_stdout()
        return 141
    except OSError as error:
        if error.errno in _NO_ROOM:
            _swallow_stdout()
            return _fail(f"Cannot write the output: {error.strerror}.", OutputFailed.exit_code)
        return _fail_bug(error)
    except Exception as error:
        if _is_usage_error(error):
            return _fail_usage(error)
        return _fail_bug(error)
    if result == 130:  # how typer returns a KeyboardInterrupt
        return _fail("interrupted", 130)
    return result if isinstance(result, int) else 0


def _narrowed(arguments: list[str]) -> typer.Typer:
    """The app with the command that is asked for alone, since typer reads the options of all that it has."""
    asked = [command for command in app.registered_commands if arguments[:1] == [command.name]]
    if not asked:
        return app
    narrowed = copy.copy(app)
    narrowed.registered_commands = asked
    return narrowed


def _open_closed_streams() -> None:
    """Started with stdout or stderr closed (`>&-`), Python has None there; what is said goes nowhere instead."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as we run


def _fail(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _swallow_stdout()
    try:
        print(f"error: {message}", file=sys.stderr, flush=True)
    except OSError:  # stderr is gone or full: the exit code is all that can still be said
        return code
    return code


def _fail_bug(error: Exception) -> int:
    if os.environ.get("ARMATURE_DEBUG"):
        traceback.print_exception(error)
    return _fail(
        f"{type(error).__name__}: {error}\n  This is a bug in Armature {__version__}; please report it with"
        " the output of the same command under ARMATURE_DEBUG=1.",
        70,
    )


def _is_usage_error(error: Exception) -> bool:
    """Whether typer refused the arguments (its error classes have no public base)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _fail_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "armature"
    message = error.format_message()  # type: ignore[attr-defined]
    mend = options.FOREIGN.get(str(getattr(error, "option_name", "")))
    if mend is not None:
        message = f"{message.partition(' (')[0]}; {mend}."
    return _fail(f"{message}\n  `{command} --help` shows how it is used.", 2)


def _swallow_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit has nothing to complain about."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 1)
    finally:
        os.close(devnull)
