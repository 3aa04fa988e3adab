"""docs/cli.md names every command, option and exit code that there is, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from armature.cli.main import EXIT_CODES, app

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def sections():
    """Text of docs/cli.md by command: what stands under `## armature NAME`."""
    parts = re.split(r"^## armature (\w+).*$", DOCS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands():
    return typer.main.get_command(app).commands


def test_every_command_has_its_section_and_no_other_is_there():
    assert set(sections()) == {name for name, command in commands().items() if not command.hidden}


def test_every_option_is_documented_and_every_documented_option_exists():
    text = sections()
    for name, command in commands().items():
        if command.hidden:
            continue
        there = {
            option for parameter in command.params for option in parameter.opts if option.startswith("-")
        }
        there -= {"--help", "-h"}
        table = {
            option
            for line in text[name].splitlines()
            if line.startswith("| `-")
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", line.split("|")[1])
        }
        assert table == there, name
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                heading = next(
                    line for line in DOCS.read_text().splitlines() if line.startswith(f"## armature {name}")
                )
                assert parameter.metavar.strip("[].") in heading


def test_every_exit_code_is_documented():
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", DOCS.read_text(), flags=re.MULTILINE))
    assert {int(code) for code in rows} == set(EXIT_CODES)
