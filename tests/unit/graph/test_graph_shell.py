"""The reader of `sh -c` scripts."""

from __future__ import annotations

import pytest

from armature.graph.shell import read_script


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("python3 -m x --a 1", ["python3", "-m", "x", "--a", "1"]),
        ("exec python3 \\\n  -m x", ["python3", "-m", "x"]),
        ("""run 'a b' "c d" e\\ f""", ["run", "a b", "c d", "e f"]),
        ('run "$NAME" ${NAME}-x ${NONE:-z} $NONE', ["run", "qwen", "qwen-x", "z", "$NONE"]),
        ("run '$NAME' \"\\$NAME\"", ["run", "$NAME", "$NAME"]),
        ('run \'{"a":"b c"}\'', ["run", '{"a":"b c"}']),
        ("run --x $(hostname -i) # why\n", ["run", "--x", "$(hostname -i)"]),
        ("export A=1 B=2\nrun $A$B", ["run", "12"]),
        ("A=1; run $A", ["run", "1"]),
        ('args=(--a "1 2" # note\n --b)\nargs+=(--c)\nrun "${args[@]}"', ["run", "--a", "1 2", "--b", "--c"]),
    ],
)
def test_one_command(script, words):
    assert list(read_script(script, {"NAME": "qwen"}).commands[-1]) == words


def test_commands_end_at_separators():
    script = read_script("set -e; ray start --head && python3 -m x | tee log &\nlast")
    assert script.commands == (
        ("set", "-e"),
        ("ray", "start", "--head"),
        ("python3", "-m", "x"),
        ("tee", "log"),
        ("last",),
    )


def test_a_here_document_is_a_file():
    script = read_script("cat > /etc/a.yaml <<'YAML'\na: 1\n# kept\nYAML\nrun --c /etc/a.yaml\n")
    assert script.files == {"/etc/a.yaml": "a: 1\n# kept\n"}
    assert script.commands[-1] == ("run", "--c", "/etc/a.yaml")


@pytest.mark.parametrize(
    "script", ["", "'open", '"open', "args=(", "$", "${", "<<", "a=(b", "\\", "(", "$(("]
)
def test_a_broken_script_is_read_as_far_as_it_goes(script):
    assert isinstance(read_script(script).commands, tuple)
