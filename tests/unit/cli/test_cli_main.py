"""Every way a command can end has its exit code and its one message."""

from __future__ import annotations

import subprocess
import sys

import pytest

from armature import __version__, errors
from armature.cli import main as main_module
from armature.cli.main import EXIT_CODES, app, main


@pytest.fixture
def raising(monkeypatch):
    """Make the command `validate` raise what a test wants."""

    def arrange(error: BaseException):
        def raise_it(*_args, **_kwargs):
            raise error

        monkeypatch.setattr("armature.cli.files.read_resources", raise_it)

    return arrange


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"armature {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_and_every_exit_code(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for command in (
        "plan",
        "compare",
        "generate",
        "select",
        "up",
        "status",
        "logs",
        "down",
        "validate",
        "hardware",
        "models",
        "support",
    ):
        assert f"  {command} " in out
    for code, meaning in EXIT_CODES.items():
        assert f"{code:>3}  {meaning}" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["plan", "--widht", "3", "x"], "--width"),
        (
            ["plan", "--database-mode", "SILICON"],
            "No such option: --database-mode; write --estimator silicon.",
        ),
        (["generate", "--generator-set", "a=b"], "spec.overrides.dgd"),
        (["plan", "x", "--estimator", "magic"], "silicon"),
        (["plan", "x", "--width", "1"], "40"),
        (["plan", "x", "--api-version", "v1"], "v1beta1"),
    ],
)
def test_a_wrong_argument_exits_2_and_shows_where_help_is(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert "--help` shows how it is used" in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ArmatureError("a", "mend it"), 1),
        (errors.ModelUnknown("a", "mend it"), 3),
        (errors.HardwareUnknown("a", "mend it"), 3),
        (errors.NothingFits("a", "mend it"), 4),
        (errors.SlaMissed("a", "mend it"), 5),
        (errors.PreflightFailed("a", [errors.Problem("b", "c", "mend it")]), 6),
        (errors.StartFailed("a", "mend it"), 7),
        (errors.OutputFailed("a", "mend it"), 8),
        (errors.ClusterFailed("a", "mend it"), 9),
    ],
)
def test_each_error_of_the_tree_has_its_exit_code(error, code, raising, capsys):
    raising(error)
    assert main(["validate", "x"]) == code == type(error).exit_code
    err = capsys.readouterr().err
    assert err.startswith("error: a")
    assert "mend it" in err
    assert "Traceback" not in err
    assert code in EXIT_CODES


def test_ctrl_c_exits_130(raising, capsys):
    raising(KeyboardInterrupt())
    assert main(["validate", "x"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_bug_says_so_in_short_and_at_length_on_request(raising, capsys, monkeypatch):
    raising(ZeroDivisionError("division by zero"))
    monkeypatch.delenv("ARMATURE_DEBUG", raising=False)
    assert main(["validate", "x"]) == 70
    err = capsys.readouterr().err
    assert "error: ZeroDivisionError: division by zero" in err
    assert "ARMATURE_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("ARMATURE_DEBUG", "1")
    assert main(["validate", "x"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_exit_codes_of_the_error_tree_are_all_documented():
    tree = [getattr(errors, name) for name in errors.__all__ if name != "Problem"]
    assert {kind.exit_code for kind in tree} <= set(EXIT_CODES)


def test_the_app_is_the_public_surface():
    assert set(main_module.__all__) == {"EXIT_CODES", "app", "main"}
    assert app.info.name == "armature"


@pytest.mark.parametrize(("closed", "left"), [("1", "stderr"), ("2", "stdout")])
def test_a_closed_stream_is_no_crash(closed, left):
    """`armature ... >&-`: the rest still works."""
    script = f'"{sys.executable}" -m armature validate /nowhere.yaml {closed}>&-'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert ("not found" in done.stderr) == (left == "stderr")
    script = f'"{sys.executable}" -m armature models Qwen3-0.6B {closed}>&-'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
