"""A model's name or path to its facts: the nearest source that has its config.json.

Order: a directory (or its config.json) as a path; the given cache, a model cache volume or Hugging Face cache, in
`hub/models--<org>--<name>/snapshots/<hash>/` (MC-02); the user's own Hugging Face cache (`$HF_HUB_CACHE`,
`$HF_HOME/hub`, `~/.cache/huggingface/hub`); our bundle; the estimator library's bundle; the hub, unless
`$HF_HUB_OFFLINE` or `offline` forbids it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from armature.errors import ModelUnknown
from armature.model.bundle import bundled_config, bundled_names
from armature.model.facts import ModelFacts, facts_from_config
from armature.model.hub import Hub, HuggingFaceHub
from armature.model.read import facts_from_directory

__all__ = ["bundled_models", "resolve_model"]

_CONFIG = "config.json"


def bundled_models() -> tuple[str, ...]:
    """Names of the models that need no network."""
    return bundled_names()


def resolve_model(
    name: str,
    *,
    offline: bool = False,
    env: Mapping[str, str] | None = None,
    cache: Path | None = None,
    hub: Hub | None = None,
) -> ModelFacts:
    """The facts of a model given as a path or as `<org>/<name>`.

    cache is a model cache looked at before the user's own; hub replaces the Hugging Face hub. Raises ModelUnknown,
    saying what to do, when no source has the model, and InvalidInput when its config.json is broken.
    """
    environment = os.environ if env is None else env
    name = name.strip().rstrip("/") if name.strip() != "/" else name
    if not name or "\0" in name:
        raise ModelUnknown(
            "no model was named" if not name else f"{name!r} is not a model's name",
            "give <org>/<name> or a directory with a config.json",
        )
    local = _as_path(name, environment)
    if local is not None:
        return facts_from_directory(name, local, source=f"{local / _CONFIG}")
    for root in _cache_roots(environment, cache):
        snapshot = _in_cache(name, root)
        if snapshot is not None:
            return facts_from_directory(name, snapshot, source=f"model cache {snapshot}")
    found = bundled_config(name)
    if found is not None:
        facts = facts_from_config(found.name, found.config, found.quant_config, source=found.source)
        if found.name != name:
            facts = replace(facts, notes=(*facts.notes, f"{name} is taken as {found.name}"))
        return facts
    hint = _did_you_mean(name)
    if offline or _truthy(environment.get("HF_HUB_OFFLINE")):
        mend = f"allow the network (HF_HUB_OFFLINE or --offline forbids it) or give its directory{hint}"
        raise ModelUnknown(f"model {name!r} is not on this machine and not among the bundled ones", mend)
    source = hub or HuggingFaceHub(environment, next(iter(_cache_roots(environment, None))))
    try:
        directory = source.fetch(name)
    except ModelUnknown as error:
        raise ModelUnknown(error.message, f"{error.mend}{hint}") from error
    return facts_from_directory(name, directory, source=f"the Hugging Face hub, {name}")


def _as_path(name: str, env: Mapping[str, str]) -> Path | None:
    """The directory a name points to; None when it is not a path. A path without config.json is an error."""
    home = env.get("HOME", "")
    path = Path(home + name[1:] if home and name.startswith("~/") else name)
    try:
        if path.name == _CONFIG and path.is_file():
            return path.parent.absolute()
        if (path / _CONFIG).is_file():
            return path.absolute()
        snapshot = _snapshot(path) if (path / "snapshots").is_dir() else None
        if snapshot is not None:
            return snapshot.absolute()
        is_directory = path.is_dir()
    except (OSError, ValueError) as error:  # too long, or with characters no path has
        raise ModelUnknown(
            f"{name[:80]!r} is not a model's name or path", "names are <org>/<name>"
        ) from error
    if name.startswith(("/", "./", "../", "~")) or (is_directory and name.count("/") != 1):
        what = "has no config.json" if is_directory else "does not exist"
        raise ModelUnknown(f"{name} {what}", "give a directory with the model's config.json")
    return None


def _cache_roots(env: Mapping[str, str], cache: Path | None) -> Iterator[Path]:
    """Directories that hold `models--<org>--<name>` folders."""
    if cache is not None:
        yield cache / "hub"
        yield cache
    home = Path(env.get("HOME") or Path.home())
    stated = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    if stated:
        yield Path(stated)
    elif env.get("HF_HOME"):
        yield Path(env["HF_HOME"]) / "hub"
    else:
        yield Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface" / "hub"


def _in_cache(name: str, root: Path) -> Path | None:
    plain = root / name
    if (plain / _CONFIG).is_file():  # a volume filled by hand: <org>/<name>/config.json
        return plain
    return _snapshot(root / f"models--{name.replace('/', '--')}")


def _snapshot(model: Path) -> Path | None:
    """The snapshot that `refs/main` names, else the newest one, that has a config.json."""
    try:
        revision = (model / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        revision = ""
    if revision and (model / "snapshots" / revision / _CONFIG).is_file():
        return model / "snapshots" / revision
    try:
        snapshots = [path for path in (model / "snapshots").iterdir() if (path / _CONFIG).is_file()]
    except OSError:
        return None
    return max(snapshots, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def _did_you_mean(name: str) -> str:
    """`; did you mean a or b?` from the bundled names, or nothing. Organisations are often left out or wrong."""
    known = {full.lower(): full for full in bundled_names()}
    tails = {full.lower().rsplit("/", 1)[-1]: full for full in bundled_names()}
    wanted = name.lower()
    tail = wanted.rsplit("/", 1)[-1]
    close = [tails[tail]] if tail in tails else []
    close += [known[match] for match in get_close_matches(wanted, known, n=2, cutoff=0.75)]
    close += [tails[match] for match in get_close_matches(tail, tails, n=2, cutoff=0.75)]
    names = list(dict.fromkeys(close))[:3]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _truthy(value: str | None) -> bool:
    return (value or "").strip().lower() in ("1", "true", "yes", "on")
