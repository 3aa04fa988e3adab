"""What one version cannot say of an object of the other: kept as places and values, and put back where it still fits.

A conversion computes the object; the `difference` to the original is the remainder. Each entry names a place (`at`),
what the conversion makes of it (`was`, or the hash of it when it is long; absent: nothing) and what was there (`is`).
Where the conversion now makes something else of the place, the object has changed meanwhile, and the change wins.
Items of lists are told apart by name, so an entry survives others that come and go. Pure; nothing given is changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Entry", "decoded", "difference", "encoded", "fingerprint", "restored", "with_all"]

Entry = dict[str, Any]
_ABSENT: Any = object()
_KEYS = ("mountPath", "mountPoint", "name", "type")
"""What tells the items of Kubernetes' lists apart; the first that all items of both lists have, each its own."""
_LONGEST_VALUE = 48  # characters; beyond it a hash is shorter
_LONGEST_TEXT = (
    16_384  # bytes; beyond it the annotation is packed: all annotations of an object share 256 KiB
)


def difference(computed: Mapping[str, Any], original: Mapping[str, Any]) -> list[Entry]:
    """The entries that make `computed` into `original`; their order depends on the places alone."""
    found: list[Entry] = []
    _compare([], computed, original, found)
    found.sort(key=lambda entry: ("order" in entry, json.dumps(entry["at"])))
    return found


def _compare(at: list[Any], computed: Any, original: Any, found: list[Entry]) -> None:
    if computed == original:
        return
    if isinstance(computed, dict) and isinstance(original, dict):
        for key in {**computed, **original}:
            _compare([*at, key], computed.get(key, _ABSENT), original.get(key, _ABSENT), found)
        return
    key = _key_of(computed, original)
    if key is None:
        entry: Entry = {"at": at}
        if computed is not _ABSENT:
            entry |= _told(computed)
        if original is not _ABSENT:
            entry["is"] = original
        found.append(entry)
        return
    old, new = ({item[key]: item for item in items} for items in (computed, original))
    for name in {**old, **new}:
        _compare([*at, {key: name}], old.get(name, _ABSENT), new.get(name, _ABSENT), found)
    added = sorted((name for name in new if name not in old), key=lambda name: json.dumps({key: name}))
    put_together = [name for name in old if name in new] + added  # as `restored` does
    if put_together != list(new):
        found.append({"at": at, "by": key, "order": list(new)})


def _key_of(computed: Any, original: Any) -> str | None:
    if not (isinstance(computed, list) and isinstance(original, list) and computed and original):
        return None
    for key in _KEYS:
        if all(_distinct(items, key) for items in (computed, original)):
            return key
    return None


def _distinct(items: list[Any], key: str) -> bool:
    names = [item.get(key) for item in items if isinstance(item, dict)]
    texts = {name for name in names if isinstance(name, str)}
    return len(texts) == len(items)


def _told(value: Any) -> Entry:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(text) <= _LONGEST_VALUE:
        return {"was": value}
    return {"hash": _hash(text)}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def fingerprint(value: Mapping[str, Any]) -> str:
    """The same for objects that are equal, whatever the order of their keys."""
    return _hash(json.dumps(value, sort_keys=True, separators=(",", ":")))


def with_all(computed: dict[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """`computed` with every entry whose place is as the entry says."""
    for entry in entries:
        computed = _applied(computed, entry)
    return computed


def restored(
    computed: dict[str, Any], entries: Sequence[Entry], left: Callable[[dict[str, Any]], list[Entry]]
) -> tuple[dict[str, Any], list[Entry]]:
    """`computed` with the entries that still fit, and the remainder of that, as `left` tells it.

    `left(object)` is the remainder that converting the object back would leave. What is put back must add nothing to
    it: an entry that contradicts what the other version says now is dropped.
    """
    plain = left(computed)
    if not entries:
        return computed, plain
    whole = with_all(computed, entries)
    after = left(whole)
    if _adds_nothing(after, plain):
        return whole, after
    result, best, waiting = computed, plain, list(entries)
    progress = True
    while progress:  # one entry may wait for another: what moved has to be there before it is taken away
        progress = False
        for entry in tuple(waiting):
            candidate = _applied(result, entry)
            after = best if candidate is result else left(candidate)
            if candidate is not result and _adds_nothing(after, best):
                result, best, progress = candidate, after, True
                waiting.remove(entry)
    return result, best


def _adds_nothing(after: Sequence[Entry], before: Sequence[Entry]) -> bool:
    """Whether every place of `after` is one of `before`, or lies in one."""
    places = {json.dumps(entry["at"]) for entry in before}
    return all(
        any(json.dumps(entry["at"][:depth]) in places for depth in range(len(entry["at"]), -1, -1))
        for entry in after
    )


def _applied(value: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """The object with one entry put back; the same object where the entry does not fit."""
    try:
        changed = _put(value, entry["at"], entry)
    except (LookupError, TypeError, AttributeError, ValueError):  # another hand wrote the annotation
        return value
    return changed if isinstance(changed, dict) else value


class _Mismatch(LookupError):
    """The place is not as the entry says."""


def _put(value: Any, at: Sequence[Any], entry: Entry) -> Any:
    if not at:
        return _in_order(value, entry) if "order" in entry else _replaced(value, entry)
    step, rest = at[0], at[1:]
    if isinstance(step, str):
        if not isinstance(value, dict):
            raise _Mismatch
        inner = _put(value.get(step, _ABSENT), rest, entry)
        if inner is _ABSENT:
            return {key: item for key, item in value.items() if key != step}
        return {**value, step: inner}
    if not isinstance(value, list):
        raise _Mismatch
    ((key, name),) = step.items()
    places = [index for index, item in enumerate(value) if isinstance(item, dict) and item.get(key) == name]
    if len(places) > 1 or (not places and rest):
        raise _Mismatch
    if not places:
        return [*value, _put(_ABSENT, rest, entry)]
    inner = _put(value[places[0]], rest, entry)
    return [*value[: places[0]], *([] if inner is _ABSENT else [inner]), *value[places[0] + 1 :]]


def _replaced(value: Any, entry: Entry) -> Any:
    expected = {key: entry[key] for key in ("was", "hash") if key in entry}
    if (value is _ABSENT) != (not expected) or (expected and _told(value) != expected):
        raise _Mismatch
    return entry.get("is", _ABSENT)


def _in_order(value: Any, entry: Entry) -> Any:
    """The items in the order that was kept; new ones take the places of those that are gone, then the end."""
    present = {item[entry["by"]] for item in value}
    places = {name: index for index, name in enumerate(entry["order"])}
    free = [index for name, index in places.items() if name not in present]
    new = iter([*free, *range(len(places), len(places) + len(value))])
    at = [places[item[entry["by"]]] if item[entry["by"]] in places else next(new) for item in value]
    return [item for _, item in sorted(zip(at, value, strict=True), key=lambda pair: pair[0])]


def encoded(remainder: Mapping[str, Any]) -> str:
    """A remainder as an annotation's value: JSON, packed when it is long."""
    text = json.dumps(remainder, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) <= _LONGEST_TEXT:
        return text
    packed = base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 6)).decode()
    return json.dumps({"zlib": packed})


def decoded(text: object) -> dict[str, Any]:
    """An annotation's value as a remainder; one that another hand spoilt holds nothing."""
    try:
        value = json.loads(text)  # type: ignore[arg-type]
        if isinstance(value, dict) and "zlib" in value:
            value = json.loads(
                zlib.decompress(base64.b64decode(value["zlib"])).decode("utf-8", "surrogatepass")
            )
    except (ValueError, TypeError, RecursionError, zlib.error):
        return {}
    if not isinstance(value, dict):
        return {}
    rest, names = value.get("rest"), value.get("names")
    out: dict[str, Any] = {}
    if isinstance(rest, list):
        out["rest"] = [item for item in rest if isinstance(item, dict) and isinstance(item.get("at"), list)]
    if isinstance(value.get("of"), str):
        out["of"] = value["of"]
    if isinstance(names, dict):
        out["names"] = {key: name for key, name in names.items() if isinstance(name, str)}
    return out
