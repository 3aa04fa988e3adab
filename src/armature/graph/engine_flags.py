"""What a component's command line asks of its engine, read from the field's own commands.

One parser for every form that manifests use: `command` and `args` lists, `python3` with `-m` among the args, one
string under `sh -c`, a bash script with arrays and here-documents, `--flag value` and `--flag=value`, short
aliases. Preflight judges a graph with it and the local runner maps a foreign graph to processes with it.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from armature.graph.known_flags import ALIASES, KNOWN
from armature.graph.shell import read_script
from armature.model.parallelism import Parallelism

__all__ = ["EngineFlags", "read_container", "read_flags", "read_options", "unknown_flags"]

Role = Literal["agg", "prefill", "decode"]
_ENGINES = ("vllm", "sglang", "trtllm", "mocker")
_MODULE = re.compile(r"dynamo\.(\w+)")
_NUMBER = re.compile(r"-\d+(\.\d+)?")
_SLIP = 0.85  # likeness from which an unknown flag is taken for a known one misspelt
_SHELLS = {"sh", "bash", "dash", "ash"}


@dataclass(frozen=True, slots=True)
class EngineFlags:
    """One command line, read. Limits are per attention-DP rank whatever the engine's own flag counts.

    module: `vllm`, `sglang`, `trtllm`, `mocker`, `frontend`, `planner`, ... or `""` when no `dynamo.<module>` was
    found. role: from the flags alone; None when they do not say. options: every flag in its usual spelling with
    all its values (empty for a switch). files: here-documents of the script. sized: False when the engine's
    parallelism lies in a file that was not given or is set per pod, so that its GPUs cannot be told.
    """

    module: str
    model: str | None = None
    served_name: str | None = None
    parallelism: Parallelism = field(default_factory=Parallelism)
    sized: bool = True
    role: Role | None = None
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    max_batched_tokens: int | None = None
    kv_dtype: str | None = None
    block_size: int | None = None
    speedup_ratio: float | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_engine(self) -> bool:
        return self.module in _ENGINES

    @property
    def gpus(self) -> int:
        """GPUs of one worker over all its pods."""
        return self.parallelism.gpus

    def value(self, flag: str) -> str | None:
        """Last word of a flag, None when it is absent or a switch."""
        values = self.options.get(flag)
        return values[-1] if values else None

    def number(self, flag: str) -> int | None:
        try:
            return int(self.value(flag) or "")
        except ValueError:
            return None

    def switch(self, flag: str) -> bool:
        """Whether a switch is on; `--no-x` counts as written after `--x`."""
        return flag in self.options and self.value(flag) not in ("false", "False", "0")


def read_container(
    container: Mapping[str, Any],
    env: Sequence[Mapping[str, Any]] = (),
    *,
    files: Mapping[str, str] | None = None,
) -> EngineFlags:
    """Flags of one container; `env` are the graph's own variables, which the container's override.

    files: contents by path of files mounted into the container (ConfigMap keys), for `--extra-engine-args`.
    """
    variables = {
        str(item["name"]): str(item["value"])
        for item in (*env, *(container.get("env") or ()))
        if isinstance(item, Mapping) and "name" in item and isinstance(item.get("value"), str | int | float)
    }
    command = [str(word) for word in container.get("command") or ()]
    args = [str(word) for word in container.get("args") or ()]
    return read_flags([*command, *args], variables, files=files)


def read_flags(
    words: Sequence[str], env: Mapping[str, str] | None = None, *, files: Mapping[str, str] | None = None
) -> EngineFlags:
    """Flags of a whole command line, `command` and `args` joined."""
    module, rest, written = _engine_words(list(words), dict(env or {}))
    options = read_options(rest, module)
    found = {**(files or {}), **written}
    if module not in _ENGINES:
        return EngineFlags(module, options=options, files=written)
    reader = {"vllm": _vllm, "sglang": _sglang, "trtllm": _trtllm, "mocker": _mocker}[module]
    return reader(EngineFlags(module, role=_role(options), options=options, files=written), found)


def read_options(words: Sequence[str], module: str) -> dict[str, tuple[str, ...]]:
    """Flags with their values. A later flag replaces an earlier one, as argparse has it; `--no-x` removes `--x`."""
    aliases = ALIASES.get(module, {})
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in words:
        if word.startswith("-") and len(word) > 1 and _NUMBER.fullmatch(word) is None:
            written, equals, value = word.partition("=")
            written = written.replace("_", "-") if written.startswith("--") else written
            name = aliases.get(written, written)
            if name.startswith("--no-"):
                options.pop("--" + name.removeprefix("--no-"), None)
            options[name] = (value,) if equals else ()
        elif name:
            options[name] = (*options[name], word)
    return options


def unknown_flags(flags: EngineFlags) -> list[tuple[str, str]]:
    """(flag, the known flag it is close to) for flags that look like slips; see `known_flags`."""
    known = KNOWN.get(flags.module)
    if known is None:
        return []
    slips = []
    for name in flags.options:
        plain = "--" + name.removeprefix("--no-") if name.startswith("--no-") else name
        if plain in known or name in known or not name.startswith("--") or "." in name:
            continue
        if close := difflib.get_close_matches(name, known, n=1, cutoff=_SLIP):
            slips.append((name, close[0]))
    return slips


def _engine_words(words: list[str], env: dict[str, str]) -> tuple[str, list[str], Mapping[str, str]]:
    """(module, the words after it, files that the script writes)."""
    if words and words[0].rpartition("/")[2] in _SHELLS:
        at = next((i for i, word in enumerate(words) if re.fullmatch(r"-\w*c", word)), None)
        if at is not None and at + 1 < len(words):
            script = read_script(words[at + 1], env)
            for command in script.commands:
                module, rest = _module(list(command))
                if module:
                    return module, rest, script.files
            return "", [], script.files
    module, rest = _module([_filled(word, env) for word in words])
    return module, rest, {}


def _module(words: list[str]) -> tuple[str, list[str]]:
    for at, word in enumerate(words[:-1]):
        match = _MODULE.fullmatch(words[at + 1])
        if word == "-m" and match is not None:
            return match[1], words[at + 2 :]
    return "", []


def _filled(word: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes fills it in."""
    return re.sub(r"\$\((\w+)\)", lambda match: env.get(match[1], match[0]), word)


def _role(options: Mapping[str, tuple[str, ...]]) -> Role | None:
    mode = (options.get("--disaggregation-mode") or ("",))[-1]
    if mode in ("prefill", "decode", "agg"):
        return mode  # type: ignore[return-value]
    if "--is-prefill-worker" in options:
        return "prefill"
    if "--is-decode-worker" in options:
        return "decode"
    return None


def _vllm(flags: EngineFlags, _: Mapping[str, str]) -> EngineFlags:
    tp = flags.number("--tensor-parallel-size") or 1
    dp = flags.number("--data-parallel-size") or 1
    experts = tp * dp if flags.switch("--enable-expert-parallel") else 1
    per_pod = "--data-parallel-rank" in flags.options or flags.switch("--enable-elastic-ep")
    return replace(
        flags,
        model=flags.value("--model"),
        served_name=flags.value("--served-model-name"),
        parallelism=_spread(tp, flags.number("--pipeline-parallel-size") or 1, dp, experts),
        sized=not per_pod,
        max_num_seqs=flags.number("--max-num-seqs"),
        max_model_len=flags.number("--max-model-len"),
        max_batched_tokens=flags.number("--max-num-batched-tokens"),
        kv_dtype=flags.value("--kv-cache-dtype"),
        block_size=flags.number("--block-size"),
    )


def _sglang(flags: EngineFlags, _: Mapping[str, str]) -> EngineFlags:
    """SGLang's `--tp-size` counts all GPUs of a stage: with DP attention it is attention TP times DP."""
    size = flags.number("--tp-size") or 1
    dp = max(1, flags.number("--dp-size") or 1)
    shared = flags.switch("--enable-dp-attention")
    tp = max(1, size // dp) if shared else size
    ranks = dp if shared else 1
    limit, chunk = flags.number("--max-running-requests"), flags.number("--chunked-prefill-size")
    chunk = chunk if chunk is not None and chunk > 0 else flags.number("--max-prefill-tokens")
    return replace(
        flags,
        model=flags.value("--model-path"),
        served_name=flags.value("--served-model-name"),
        parallelism=_spread(tp, flags.number("--pp-size") or 1, dp, flags.number("--ep-size") or 1),
        max_num_seqs=None if limit is None else max(1, limit // ranks),
        max_model_len=flags.number("--context-length"),
        max_batched_tokens=None if chunk is None else max(1, chunk // ranks),
        kv_dtype=flags.value("--kv-cache-dtype"),
        block_size=flags.number("--page-size"),
    )


def _trtllm(flags: EngineFlags, files: Mapping[str, str]) -> EngineFlags:
    """Flags, then the YAML of `--extra-engine-args`, then `--override-engine-args`: the later wins."""
    path = flags.value("--extra-engine-args")
    text = files.get(path) if path else None
    config: dict[str, Any] = {
        key: flags.value(flag) for key, flag in _TRTLLM_KEYS.items() if flags.value(flag) is not None
    }
    config["enable_attention_dp"] = flags.switch("--enable-attention-dp")
    config |= {
        name.removeprefix("--trtllm."): values[-1]
        for name, values in flags.options.items()
        if name.startswith("--trtllm.") and values
    }
    config |= _mapping(text) | _mapping(flags.value("--override-engine-args"))
    size, pp = _int(config.get("tensor_parallel_size")) or 1, _int(config.get("pipeline_parallel_size")) or 1
    shared = str(config.get("enable_attention_dp")).lower() == "true"
    cache = config.get("kv_cache_config")
    cache = cache if isinstance(cache, Mapping) else {}
    return replace(
        flags,
        model=flags.value("--model-path"),
        served_name=flags.value("--served-model-name"),
        parallelism=_spread(
            1 if shared else size,
            pp,
            size if shared else 1,
            _int(config.get("moe_expert_parallel_size")) or 1,
        ),
        sized=not (path and text is None) or "--tensor-parallel-size" in flags.options,
        max_num_seqs=_int(config.get("max_batch_size")),
        max_model_len=_int(config.get("max_seq_len")),
        max_batched_tokens=_int(config.get("max_num_tokens")),
        kv_dtype=None if cache.get("dtype") is None else str(cache["dtype"]),
        block_size=_int(cache.get("tokens_per_block")) or flags.number("--kv-block-size"),
    )


_TRTLLM_KEYS = {
    "tensor_parallel_size": "--tensor-parallel-size",
    "pipeline_parallel_size": "--pipeline-parallel-size",
    "moe_expert_parallel_size": "--expert-parallel-size",
    "max_batch_size": "--max-batch-size",
    "max_num_tokens": "--max-num-tokens",
    "max_seq_len": "--max-seq-len",
}


def _mocker(flags: EngineFlags, _: Mapping[str, str]) -> EngineFlags:
    ratio = flags.value("--speedup-ratio")
    return replace(
        flags,
        model=flags.value("--model-path"),
        served_name=flags.value("--model-name"),
        parallelism=Parallelism(dp=flags.number("--data-parallel-size") or 1),
        sized=False,
        max_num_seqs=flags.number("--max-num-seqs"),
        max_model_len=flags.number("--max-model-len"),
        max_batched_tokens=flags.number("--max-num-batched-tokens"),
        kv_dtype=flags.value("--kv-cache-dtype"),
        block_size=flags.number("--block-size"),
        speedup_ratio=_float(ratio),
    )


def _spread(tp: int, pp: int, dp: int, experts: int) -> Parallelism:
    """Parallelism whose routed experts split `experts` ways over the stage's GPUs and by tensor over the rest."""
    tp, pp, dp = max(1, tp), max(1, pp), max(1, dp)
    if experts <= 1:
        return Parallelism(tp, pp, dp)
    return Parallelism(tp, pp, dp, max(1, tp * dp // experts), experts)


def _mapping(text: str | None) -> dict[str, Any]:
    """A YAML, JSON or Python mapping (`dynamo.trtllm` takes the last two); anything else is empty."""
    if not text:
        return {}
    import yaml  # most command lines hold no mapping

    for read in (json.loads, ast.literal_eval, yaml.safe_load):
        try:
            value = read(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, yaml.YAMLError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _int(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _float(value: str | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None
