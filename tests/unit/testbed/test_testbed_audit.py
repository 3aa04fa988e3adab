"""The audit log is read back as who wrote what, and only what is whole."""

from __future__ import annotations

import json

from armature_testbed.audit import audited, count, position


def line(user: str, verb: str, resource: str, subresource: str = "", code: int = 200) -> str:
    target = {"resource": resource, "namespace": "ns", "name": "one", "apiGroup": "nvidia.com"}
    if subresource:
        target["subresource"] = subresource
    return json.dumps(
        {
            "kind": "Event",
            "verb": verb,
            "user": {"username": user, "groups": ["g"]},
            "objectRef": target,
            "responseStatus": {"metadata": {}, "code": code},
            "stageTimestamp": "2026-11-25T04:00:00.000000Z",
        }
    )


def test_writes_are_counted_by_user_verb_and_resource(tmp_path):
    log = tmp_path / "audit.jsonl"
    log.write_text("\n".join([line("op", "patch", "dgdr", "status")] * 2 + [line("op", "get", "dgdr"), ""]))
    assert count(audited(log)) == {("op", "patch", "dgdr/status"): 2}
    assert count(audited(log), writes_only=False)["op", "get", "dgdr"] == 1


def test_only_what_came_after_a_position_and_is_whole(tmp_path):
    log = tmp_path / "audit.jsonl"
    assert position(log) == 0
    log.write_text(line("a", "create", "pods") + "\n")
    since = position(log)
    with log.open("a") as file:
        file.write(line("b", "delete", "pods", code=404) + "\n" + line("c", "create", "pods")[:40])
    (request,) = audited(log, since)
    assert (request.user, request.verb, request.resource, request.code) == ("b", "delete", "pods", 404)
    assert (request.group, request.namespace, request.name) == ("nvidia.com", "ns", "one")
