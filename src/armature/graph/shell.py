"""Reads the small shell scripts that manifests carry under `sh -c`, enough to find the engine's command line.

Understood: quotes, backslashes and line continuations, comments, `$NAME`, `${NAME}` and `${NAME:-default}`,
assignments and `export`, arrays (`args=(...)`, `args+=(...)`, `"${args[@]}"`), `cat > file <<'EOF'`, and the
separators `;`, `&&`, `||`, `|`, `&` and newline. Control flow is not run: every command is listed in order.
Nothing is executed; a substitution `$(...)` and an unset variable stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Script", "read_script"]

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_CAT_TO = re.compile(r">{1,2}\s*(\"[^\"]+\"|'[^']+'|\S+)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:\[@\]|\[\*\])?(?::?-([^}]*))?\}|(\w+))")
_QUOTED = re.compile(_VARIABLE.pattern + r'|\\(?P<escaped>["\\$`])')
_SEPARATORS = {";", "&", "|", "\n"}
_SKIPPED = {"if", "then", "else", "elif", "fi", "do", "done", "while", "for", "exec", "time", "!", "{", "}"}


@dataclass(frozen=True, slots=True)
class Script:
    """`commands`: each simple command as its words, in order. `files`: what here-documents write, by path."""

    commands: tuple[tuple[str, ...], ...]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Word:
    """A word in the making: `text` after expansion, `array` when it is exactly one `"${name[@]}"`."""

    text: str
    array: str | None = None


def read_script(script: str, env: Mapping[str, str] | None = None) -> Script:
    """The commands of `script` with variables of `env` and of the script itself filled in."""
    body, files = _take_heredocs(script.replace("\\\n", " "))
    variables = dict(env or {})
    arrays: dict[str, list[str]] = {}
    commands: list[tuple[str, ...]] = []
    words: list[str] = []

    def end() -> None:
        while words and (words[0] in _SKIPPED or _assigns(words[0], variables)):
            del words[0]
        if words and words[0] == "export":
            for word in words[1:]:
                _assigns(word, variables)
        elif words:
            commands.append(tuple(words))
        words.clear()

    tokens = _Tokens(body, variables)
    for word in tokens:
        if word is None:
            end()
        elif word.array is not None:
            words.extend(arrays.get(word.array, []))
        elif not words and word.text.endswith("=") and tokens.opens_array():
            name, append = word.text[:-1].rstrip("+"), word.text.endswith("+=")
            items = [item.text for item in tokens.array_items()]
            arrays[name] = [*(arrays.get(name, []) if append else []), *items]
        else:
            words.append(word.text)
    end()
    return Script(tuple(commands), files)


def _assigns(word: str, variables: dict[str, str]) -> bool:
    match = _ASSIGNMENT.fullmatch(word)
    if match is None:
        return False
    name, append, value = match.groups()
    variables[name] = (variables.get(name, "") if append else "") + value
    return True


def _take_heredocs(script: str) -> tuple[str, dict[str, str]]:
    """The script without its here-documents, and the documents that `cat > path` writes."""
    kept: list[str] = []
    files: dict[str, str] = {}
    lines = iter(script.split("\n"))
    for line in lines:
        start = _HEREDOC.search(line)
        if start is None:
            kept.append(line)
            continue
        content: list[str] = []
        for inner in lines:
            if inner.strip() == start[2]:
                break
            content.append(inner)
        target = _CAT_TO.search(line[: start.start()] + line[start.end() :])
        if target is not None:
            files[target[1].strip("\"'")] = "\n".join(content) + "\n"
        kept.append("")
    return "\n".join(kept), files


class _Tokens:
    """Iterates over the words of a script; None stands for the end of a command."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.text = text
        self.at = 0
        self.variables = variables

    def __iter__(self) -> Iterator[_Word | None]:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _SEPARATORS:
                self.at += 1
                yield None
            elif char.isspace() or char in "()":
                self.at += 1
            elif char == "#":
                self._skip_line()
            else:
                yield self._word()
        yield None

    def opens_array(self) -> bool:
        return self.at < len(self.text) and self.text[self.at] == "("

    def array_items(self) -> Iterator[_Word]:
        """Words up to the closing parenthesis; newlines are blanks in here."""
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != ")":
            if self.text[self.at].isspace():
                self.at += 1
            elif self.text[self.at] == "#":
                self._skip_line()
            else:
                yield self._word()
        self.at += 1

    def _skip_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _word(self) -> _Word:
        word = _Word("")
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "'":
                end = self._closing("'")
                word.text += self.text[self.at + 1 : end]
                self.at = end + 1
            elif char == '"':
                end = self._closing('"')
                inner = self.text[self.at + 1 : end]
                array = re.fullmatch(r"\$\{(\w+)\[[@*]\]\}", inner)
                if array is not None and not word.text:
                    word.array = array[1]
                word.text += self._expand(inner, escapes=True)
                self.at = end + 1
            elif char == "\\":
                word.text += self.text[self.at + 1 : self.at + 2]
                self.at += 2
            elif char == "$":
                self._dollar(word)
            elif char.isspace() or char in _SEPARATORS or char in "()":
                break
            else:
                word.text += char
                self.at += 1
        return word

    def _dollar(self, word: _Word) -> None:
        if self.text.startswith("$(", self.at):
            depth, end = 0, self.at + 1
            while end < len(self.text):
                depth += {"(": 1, ")": -1}.get(self.text[end], 0)
                end += 1
                if depth == 0:
                    break
            word.text += self.text[self.at : end]
            self.at = end
            return
        match = _VARIABLE.match(self.text, self.at)
        if match is None:
            word.text += "$"
            self.at += 1
            return
        if "[" in match[0] and not word.text:
            word.array = match[1]
        word.text += self._expand(match[0])
        self.at = match.end()

    def _closing(self, quote: str) -> int:
        end = self.at + 1
        while end < len(self.text) and self.text[end] != quote:
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        return min(end, len(self.text))

    def _expand(self, text: str, *, escapes: bool = False) -> str:
        """`text` with variables filled in; `escapes`: as between double quotes, where a backslash protects."""

        def value(match: re.Match[str]) -> str:
            if match.lastgroup == "escaped":
                return match["escaped"]
            name = match[1] or match[3]
            return self.variables.get(name, match[2] if match[2] is not None else match[0])

        return (_QUOTED if escapes else _VARIABLE).sub(value, text)
