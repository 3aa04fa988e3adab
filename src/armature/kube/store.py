"""The objects of one kind as they were last heard of: what controllers read instead of asking the API server.

A reflector fills it; everybody else only reads. Objects in it are shared: whoever wants to change one copies it first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from armature.kube.client import FIELD_MANAGER
from armature.kube.kinds import Kind, Object, name_of, namespace_of, uid_of

__all__ = ["Change", "Key", "Store", "key_of", "version_of", "without_foreign_fields"]

Key = tuple[str, str]
"""Namespace and name; the namespace is empty for a kind that has none."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an object. old: None when it is new; new: None when it is gone."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The object as it is, or as it was before it went."""
        obj = self.new if self.new is not None else self.old
        assert obj is not None
        return obj


def key_of(obj: Object) -> Key:
    return namespace_of(obj), name_of(obj)


def version_of(obj: Object) -> int:
    """The resource version as a number: of two objects of one kind the later has the larger (KEP-5504)."""
    return int(obj["metadata"]["resourceVersion"])


def without_foreign_fields(obj: Object) -> Object:
    """Drops the record of which fields other managers own: the larger half of many objects. Ours stays, for
    `needs_apply`. Changes the object it is given."""
    entries = obj["metadata"].get("managedFields")
    if entries:
        ours = [entry for entry in entries if entry.get("manager") == FIELD_MANAGER]
        if ours:
            obj["metadata"]["managedFields"] = ours
        else:
            del obj["metadata"]["managedFields"]
    return obj


class Store:
    """Objects by key, by uid, by owner and by label.

    label_keys: the labels that `with_label` may ask for.
    """

    def __init__(self, kind: Kind, *, label_keys: Sequence[str] = ()) -> None:
        self.kind = kind
        self._objects: dict[Key, Object] = {}
        self._by_uid: dict[str, Key] = {}
        self._by_owner: dict[str, dict[Key, None]] = defaultdict(dict)
        self._by_label: dict[str, dict[str, dict[Key, None]]] = {key: defaultdict(dict) for key in label_keys}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, name: str, namespace: str = "") -> Object | None:
        return self._objects.get((namespace, name))

    def by_uid(self, uid: str) -> Object | None:
        key = self._by_uid.get(uid)
        return None if key is None else self._objects[key]

    def all(self, namespace: str = "") -> list[Object]:
        """Every object, or those of one namespace."""
        if not namespace:
            return list(self._objects.values())
        return [obj for key, obj in self._objects.items() if key[0] == namespace]

    def owned_by(self, uid: str) -> list[Object]:
        """The objects that name this uid among their owners."""
        return [self._objects[key] for key in self._by_owner.get(uid, ())]

    def with_label(self, key: str, value: str, namespace: str = "") -> list[Object]:
        """KeyError for a label that the store does not index."""
        found = self._by_label[key].get(value, ())
        return [self._objects[at] for at in found if namespace in ("", at[0])]

    # What a reflector does

    def put(self, obj: Object) -> list[Change]:
        """Takes an object; nothing happens when it is not later than what is held. An object that replaces another
        of its name (a new uid) is one that went and one that came."""
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and uid_of(old) != uid_of(obj):
            return [*self._drop(key), self._insert(key, obj)]
        if old is not None and version_of(old) >= version_of(obj):
            return []
        return [self._insert(key, obj)]

    def remove(self, obj: Object) -> list[Change]:
        """Drops an object that was deleted. obj: its last state, with the version of the deletion."""
        key = key_of(obj)
        old = self._objects.get(key)
        if old is None or version_of(old) > version_of(obj):
            return []
        return self._drop(key)

    def replace(self, objects: Iterable[Object]) -> list[Change]:
        """Holds exactly these from now on: what it held besides was deleted meanwhile."""
        listed = {key_of(obj): obj for obj in objects}
        changes: list[Change] = []
        for key in [key for key in self._objects if key not in listed]:
            changes += self._drop(key)
        for key, obj in listed.items():
            old = self._objects.get(key)
            if old is None:
                changes.append(self._insert(key, obj))
            elif uid_of(old) != uid_of(obj):
                changes += [*self._drop(key), self._insert(key, obj)]
            elif version_of(old) != version_of(obj):
                changes.append(self._insert(key, obj))
        return changes

    def _insert(self, key: Key, obj: Object) -> Change:
        old = self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        self._by_uid[uid_of(obj)] = key
        for index, value in self._entries(obj):
            index[value][key] = None
        return Change("ADDED" if old is None else "MODIFIED", old, obj)

    def _drop(self, key: Key) -> list[Change]:
        old = self._objects.pop(key)
        self._unindex(key, old)
        return [Change("DELETED", old, None)]

    def _unindex(self, key: Key, obj: Object) -> None:
        self._by_uid.pop(uid_of(obj), None)
        for index, value in self._entries(obj):
            index[value].pop(key, None)
            if not index[value]:
                del index[value]

    def _entries(self, obj: Object) -> list[tuple[dict[str, dict[Key, None]], str]]:
        """In which index, under which value, an object stands."""
        metadata: dict[str, Any] = obj["metadata"]
        labels = metadata.get("labels") or {}
        found = [(self._by_owner, owner["uid"]) for owner in metadata.get("ownerReferences") or ()]
        return found + [(index, labels[key]) for key, index in self._by_label.items() if key in labels]
