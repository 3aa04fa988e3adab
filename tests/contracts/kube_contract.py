"""What `armature.kube.client.Client` promises, as tests that run against the fake and against a real API server.

A module that imports these names gives a fixture `api`: it calls a scenario with a client and an empty namespace.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from armature.kube.client import FIELD_MANAGER, Selector
from armature.kube.errors import AlreadyExists, ApiError, BadRequest, Conflict, Invalid, NotFound
from armature.kube.kinds import CONFIG_MAP, CRD, LEASE, SERVICE_ACCOUNT, Kind

GROUP = "contract.armature.dev"
THING = Kind(GROUP, "v1", "Thing", "things")


def thing_crd():
    """A kind like ours: a status subresource, conditions and components that are lists by key, open elsewhere."""
    by_key = {"type": "array", "x-kubernetes-list-type": "map"}
    entry = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    condition = entry | {"required": ["type"], "properties": {"type": {"type": "string"}}}
    component = entry | {"required": ["name"], "properties": {"name": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {
            "spec": entry
            | {
                "properties": {
                    "replicas": {"type": "integer"},
                    "components": by_key | {"x-kubernetes-list-map-keys": ["name"], "items": component},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "pairs": {"type": "object", "additionalProperties": {"type": "string"}},
                }
            },
            "status": entry
            | {
                "properties": {
                    "conditions": by_key | {"x-kubernetes-list-map-keys": ["type"], "items": condition},
                }
            },
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "metadata": {"name": f"{THING.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": THING.kind,
                "plural": THING.plural,
                "singular": "thing",
                "listKind": "ThingList",
            },
            "scope": "Namespaced",
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


async def install_thing(client):
    """Makes the API server know the kind, and waits until it does."""
    await client.apply(CRD, thing_crd())
    for _ in range(200):
        with contextlib.suppress(NotFound):
            await client.list(THING)
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the kind never came")


def thing(ns, name="a", *, metadata=None, status=None, **spec):
    obj = {"apiVersion": THING.api_version, "kind": THING.kind, "spec": spec}
    obj["metadata"] = {"name": name, "namespace": ns, **(metadata or {})}
    return obj if status is None else obj | {"status": status}


def version(obj):
    return int(obj["metadata"]["resourceVersion"])


def generation(obj):
    return obj["metadata"]["generation"]


def without_bookkeeping(obj):
    hidden = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
    return obj | {"metadata": {key: value for key, value in obj["metadata"].items() if key not in hidden}}


def test_a_created_object_has_what_the_server_adds_and_no_status(api):
    async def scenario(client, ns):
        made = await client.create(
            THING, thing(ns, status={"phase": "Ready"}, replicas=2, unknown={"deep": [1]})
        )
        assert without_bookkeeping(made) == thing(ns, replicas=2, unknown={"deep": [1]})
        assert generation(made) == 1 and made["metadata"]["uid"] and version(made) > 0
        assert made["metadata"]["creationTimestamp"].endswith("Z")
        assert await client.get(THING, "a", ns) == made

    api(scenario)


def test_creating_it_again_says_that_it_exists(api):
    async def scenario(client, ns):
        await client.create(THING, thing(ns))
        with pytest.raises(AlreadyExists, match='"a" already exists') as caught:
            await client.create(THING, thing(ns))
        assert (caught.value.status, caught.value.error_type) == (409, "already_exists")

    api(scenario)


def test_the_namespace_may_stand_beside_the_object_and_a_name_may_be_generated(api):
    async def scenario(client, ns):
        made = await client.create(CONFIG_MAP, {"metadata": {"generateName": "c-"}, "data": {"k": "v"}}, ns)
        name = made["metadata"]["name"]
        assert name.startswith("c-") and len(name) > 2
        assert (await client.get(CONFIG_MAP, name, ns))["data"] == {"k": "v"}

    api(scenario)


def test_what_is_not_there_is_not_found(api):
    async def scenario(client, ns):
        for request in (
            client.get(THING, "none", ns),
            client.patch(THING, "none", ns, {"spec": {"replicas": 1}}),
            client.apply_status(THING, thing(ns, "none", status={"phase": "x"})),
            client.delete(THING, "none", ns),
            client.get(THING, "none", "no-such-namespace"),
        ):
            with pytest.raises(NotFound) as caught:
                await request
            assert caught.value.status == 404

    api(scenario)


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a" * 254, "a b"])
def test_names_that_are_none_are_invalid(api, name):
    async def scenario(client, ns):
        with pytest.raises(Invalid) as caught:
            await client.create(CONFIG_MAP, {"metadata": {"name": name, "namespace": ns}})
        assert (caught.value.status, caught.value.error_type) == (422, "validation")

    api(scenario)


@pytest.mark.parametrize(
    ("label", "error"), [("a b", Invalid), ("-x", Invalid), ("x" * 64, Invalid), (1, BadRequest)]
)
def test_label_values_that_are_none_are_refused(api, label, error):
    async def scenario(client, ns):
        with pytest.raises(error):
            await client.create(
                CONFIG_MAP, {"metadata": {"name": "c", "namespace": ns, "labels": {"l": label}}}
            )

    api(scenario)


def test_a_merge_patch_changes_what_it_states_and_null_removes(api):
    async def scenario(client, ns):
        made = await client.create(THING, thing(ns, replicas=1, pairs={"a": "1", "b": "2"}, tags=["x", "y"]))
        done = await client.patch(
            THING,
            "a",
            ns,
            {"spec": {"pairs": {"a": None, "c": "3"}, "tags": ["z"]}, "status": {"phase": "no"}},
        )
        assert done["spec"] == {"replicas": 1, "pairs": {"b": "2", "c": "3"}, "tags": ["z"]}
        assert "status" not in done
        assert generation(done) == 2 and version(done) > version(made)

    api(scenario)


def test_metadata_does_not_count_as_a_generation(api):
    async def scenario(client, ns):
        await client.create(THING, thing(ns))
        done = await client.patch(
            THING, "a", ns, {"metadata": {"labels": {"l": "v"}, "annotations": {"x": "y"}}}
        )
        assert generation(done) == 1
        assert done["metadata"]["labels"] == {"l": "v"}

    api(scenario)


def test_status_has_its_own_door(api):
    async def scenario(client, ns):
        made = await client.create(THING, thing(ns, replicas=1))
        done = await client.patch(
            THING,
            "a",
            ns,
            {"status": {"phase": "Ready"}, "spec": {"replicas": 9}, "metadata": {"labels": {"l": "v"}}},
            subresource="status",
        )
        assert done["status"] == {"phase": "Ready"}
        assert done["spec"] == {"replicas": 1}
        assert generation(done) == 1 and version(done) > version(made)
        kept = await client.patch(THING, "a", ns, {"spec": {"replicas": 2}})
        assert kept["status"] == {"phase": "Ready"}

    api(scenario)


def test_a_kind_without_status_has_no_such_door(api):
    async def scenario(client, ns):
        await client.create(CONFIG_MAP, {"metadata": {"name": "c", "namespace": ns}})
        with pytest.raises(NotFound):
            await client.patch(CONFIG_MAP, "c", ns, {"status": {}}, subresource="status")

    api(scenario)


def test_a_patch_that_changes_nothing_is_no_write(api):
    async def scenario(client, ns):
        made = await client.create(THING, thing(ns, replicas=1))
        done = await client.patch(THING, "a", ns, {"spec": {"replicas": 1}})
        assert version(done) == version(made)
        status = await client.patch(THING, "a", ns, {"status": {"phase": "x"}}, subresource="status")
        again = await client.patch(THING, "a", ns, {"status": {"phase": "x"}}, subresource="status")
        assert version(again) == version(status)

    api(scenario)


def test_a_patch_of_an_object_that_changed_since_is_a_conflict(api):
    async def scenario(client, ns):
        made = await client.create(THING, thing(ns, replicas=1))
        await client.patch(THING, "a", ns, {"spec": {"replicas": 2}})
        stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        with pytest.raises(Conflict) as caught:
            await client.patch(THING, "a", ns, stale | {"spec": {"replicas": 3}})
        assert (caught.value.status, caught.value.error_type) == (409, "conflict")
        with pytest.raises(Conflict):
            await client.patch(THING, "a", ns, stale | {"status": {"phase": "x"}}, subresource="status")
        other = {"metadata": {"uid": "11111111-1111-4111-8111-111111111111"}}
        with pytest.raises(Invalid):
            await client.patch(THING, "a", ns, other | {"spec": {"replicas": 3}})
        now = await client.get(THING, "a", ns)
        assert now["spec"]["replicas"] == 2
        right = {key: now["metadata"][key] for key in ("uid", "resourceVersion")}
        assert (await client.patch(THING, "a", ns, {"metadata": right, "spec": {"replicas": 3}}))["spec"][
            "replicas"
        ] == 3

    api(scenario)


def test_apply_creates_and_then_says_nothing_new_without_a_write(api):
    async def scenario(client, ns):
        made = await client.apply(THING, thing(ns, replicas=1, pairs={"a": "1"}))
        assert without_bookkeeping(made) == thing(ns, replicas=1, pairs={"a": "1"})
        assert generation(made) == 1
        again = await client.apply(THING, thing(ns, replicas=1, pairs={"a": "1"}))
        assert again == made
        [entry] = made["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"]) == (FIELD_MANAGER, "Apply")
        assert entry["fieldsV1"] == {"f:spec": {"f:pairs": {"f:a": {}}, "f:replicas": {}}}

    api(scenario)


def test_apply_takes_back_what_it_stated_before_and_leaves_what_others_did(api):
    async def scenario(client, ns):
        labels = {"labels": {"ours": "1", "gone": "1"}}
        await client.apply(
            THING, thing(ns, metadata=labels, replicas=1, tags=["x"], pairs={"a": "1", "b": "2"})
        )
        await client.patch(THING, "a", ns, {"metadata": {"labels": {"theirs": "1"}}, "spec": {"other": True}})
        done = await client.apply(THING, thing(ns, metadata={"labels": {"ours": "1"}}, pairs={"b": "3"}))
        assert done["spec"] == {"pairs": {"b": "3"}, "other": True}
        assert done["metadata"]["labels"] == {"ours": "1", "theirs": "1"}
        assert generation(done) == 3

    api(scenario)


def test_apply_merges_lists_by_key_and_takes_other_lists_whole(api):
    async def scenario(client, ns):
        await client.apply(
            THING, thing(ns, components=[{"name": "x", "n": 1}, {"name": "y", "n": 2}], tags=["a", "b"])
        )
        await client.patch(
            THING,
            "a",
            ns,
            {
                "spec": {
                    "components": [{"name": "x", "n": 1, "theirs": 1}, {"name": "y", "n": 2}, {"name": "z"}]
                }
            },
        )
        done = await client.apply(THING, thing(ns, components=[{"name": "x", "n": 5}], tags=["c"]))
        assert done["spec"]["tags"] == ["c"]
        assert {entry["name"]: entry for entry in done["spec"]["components"]} == {
            "x": {"name": "x", "n": 5, "theirs": 1},
            "z": {"name": "z"},
        }

    api(scenario)


def test_apply_of_status_is_apart_from_that_of_the_object(api):
    async def scenario(client, ns):
        await client.apply(THING, thing(ns, replicas=1))
        conditions = [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]
        done = await client.apply_status(
            THING, thing(ns, status={"phase": "x", "conditions": conditions}, replicas=7)
        )
        assert done["spec"] == {"replicas": 1}
        assert done["status"] == {"phase": "x", "conditions": conditions}
        assert generation(done) == 1
        again = await client.apply_status(THING, thing(ns, status={"phase": "x", "conditions": conditions}))
        assert version(again) == version(done)
        kept = await client.apply(THING, thing(ns, replicas=2))
        assert kept["status"] == done["status"]
        less = await client.apply_status(THING, thing(ns, status={"conditions": conditions[1:]}))
        assert less["status"] == {"conditions": conditions[1:]}
        assert less["spec"] == {"replicas": 2}

    api(scenario)


def test_apply_over_what_another_wrote_is_a_conflict_unless_forced(api):
    async def scenario(client, ns):
        await client.create(THING, thing(ns, replicas=1))
        with pytest.raises(Conflict, match="replicas"):
            await client.apply(THING, thing(ns, replicas=2), force=False)
        same = await client.apply(THING, thing(ns, replicas=1), force=False)
        assert same["spec"] == {"replicas": 1}
        forced = await client.apply(THING, thing(ns, replicas=2))
        assert forced["spec"] == {"replicas": 2}

    api(scenario)


def test_apply_to_an_object_that_is_not_the_one_meant_is_refused(api):
    async def scenario(client, ns):
        other = {"uid": "11111111-1111-4111-8111-111111111111"}
        with pytest.raises(Conflict):
            await client.apply(THING, thing(ns, metadata=other, replicas=1))
        made = await client.apply(THING, thing(ns, replicas=1))
        with pytest.raises(Invalid):
            await client.apply(THING, thing(ns, metadata=other, replicas=2))
        await client.apply(THING, thing(ns, replicas=3))
        stale = {"resourceVersion": made["metadata"]["resourceVersion"]}
        with pytest.raises(Conflict):
            await client.apply(THING, thing(ns, metadata=stale, replicas=2))
        right = {"uid": made["metadata"]["uid"]}
        assert (await client.apply(THING, thing(ns, metadata=right, replicas=2)))["spec"] == {"replicas": 2}

    api(scenario)


def test_apply_of_an_object_as_it_was_read_is_refused(api):
    async def scenario(client, ns):
        made = await client.apply(THING, thing(ns, replicas=1))
        with pytest.raises(BadRequest, match="managedFields"):
            await client.apply(THING, made)

    api(scenario)


def test_an_object_goes_when_its_last_finalizer_does(api):
    async def scenario(client, ns):
        await client.create(THING, thing(ns, metadata={"finalizers": [f"{GROUP}/x"]}))
        await client.delete(THING, "a", ns)
        dying = await client.get(THING, "a", ns)
        assert dying["metadata"]["deletionTimestamp"]
        assert generation(dying) == 2
        await client.delete(THING, "a", ns)
        await client.patch(THING, "a", ns, {"metadata": {"finalizers": None}})
        with pytest.raises(NotFound):
            await client.get(THING, "a", ns)

    api(scenario)


def test_delete_may_name_the_object_it_means(api):
    async def scenario(client, ns):
        made = await client.create(THING, thing(ns))
        now = await client.patch(THING, "a", ns, {"spec": {"replicas": 1}})
        with pytest.raises(Conflict):
            await client.delete(THING, "a", ns, uid="11111111-1111-4111-8111-111111111111")
        with pytest.raises(Conflict):
            await client.delete(THING, "a", ns, resource_version=made["metadata"]["resourceVersion"])
        await client.delete(
            THING, "a", ns, uid=made["metadata"]["uid"], resource_version=now["metadata"]["resourceVersion"]
        )
        with pytest.raises(NotFound):
            await client.get(THING, "a", ns)

    api(scenario)


def test_a_version_on_create_is_refused(api):
    async def scenario(client, ns):
        with pytest.raises(ApiError, match="resourceVersion"):
            await client.create(THING, thing(ns, metadata={"resourceVersion": "1"}))

    api(scenario)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"labels": "app=x"}, ["a", "b"]),
        ({"labels": "app=x,tier!=2"}, ["a"]),
        ({"labels": "app in (x, y),!tier"}, ["a", "c"]),
        ({"labels": "tier"}, ["b"]),
        ({"labels": "app notin (x)"}, ["c"]),
        ({"fields": "metadata.name=b"}, ["b"]),
        ({"fields": "metadata.name!=b"}, ["a", "c"]),
    ],
)
def test_list_selects(api, selector, names):
    async def scenario(client, ns):
        for name, labels in (("a", {"app": "x"}), ("b", {"app": "x", "tier": "2"}), ("c", {"app": "y"})):
            await client.create(THING, thing(ns, name, metadata={"labels": labels}))
        listing = await client.list(THING, Selector(ns, **selector), chunk=2)
        assert [obj["metadata"]["name"] for obj in listing.items] == names
        assert {(obj["apiVersion"], obj["kind"]) for obj in listing.items} == {
            (THING.api_version, THING.kind)
        }
        assert int(listing.resource_version) >= max(map(version, listing.items))

    api(scenario)


def test_list_of_every_namespace_and_of_a_kind_that_is_not_custom(api):
    async def scenario(client, ns):
        await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "contract", "namespace": ns}})
        found = (await client.list(SERVICE_ACCOUNT, Selector(fields="metadata.name=contract"), chunk=1)).items
        [mine] = [obj for obj in found if obj["metadata"]["namespace"] == ns]
        assert (mine["apiVersion"], mine["kind"]) == ("v1", "ServiceAccount")

    api(scenario)


async def events_of(client, ns, listing, count, **selector):
    """The next `count` events that are no bookmarks."""
    watch = client.watch(
        THING, Selector(ns, **selector), resource_version=listing.resource_version, timeout_s=20, idle_s=30
    )
    found = []
    async with contextlib.aclosing(watch) as events:
        async for event in events:
            if event.type != "BOOKMARK":
                found.append(event)
                if len(found) == count:
                    return found
    raise AssertionError(f"only {found}")


def test_a_watch_tells_every_change_after_the_list_in_order(api):
    async def scenario(client, ns):
        before = await client.create(THING, thing(ns, "before"))
        listing = await client.list(THING, Selector(ns))
        made = await client.create(THING, thing(ns))
        changed = await client.patch(THING, "a", ns, {"spec": {"replicas": 2}})
        await client.patch(THING, "a", ns, {"spec": {"replicas": 2}})
        await client.delete(THING, "a", ns)
        await client.patch(THING, "before", ns, {"status": {"phase": "x"}}, subresource="status")
        events = await events_of(client, ns, listing, 4)
        assert [(event.type, event.object["metadata"]["name"]) for event in events] == [
            ("ADDED", "a"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
            ("MODIFIED", "before"),
        ]
        assert events[0].object == made and events[1].object == changed
        assert version(events[2].object) > version(changed)
        assert events[2].object["spec"] == {"replicas": 2}
        assert events[3].object["metadata"]["uid"] == before["metadata"]["uid"]
        versions = [int(event.resource_version) for event in events]
        assert versions == sorted(versions) == [version(event.object) for event in events]

    api(scenario)


def test_a_watch_hears_what_comes_while_it_waits_and_goes_on_from_any_version(api):
    async def scenario(client, ns):
        listing = await client.list(THING, Selector(ns))
        waiting = asyncio.create_task(events_of(client, ns, listing, 2))
        await asyncio.sleep(0.2)
        await client.create(THING, thing(ns, "a"))
        await client.create(THING, thing(ns, "b"))
        first, second = await waiting
        assert (first.object["metadata"]["name"], second.object["metadata"]["name"]) == ("a", "b")
        from_first = type(listing)([], first.resource_version)
        assert [event.object for event in await events_of(client, ns, from_first, 1)] == [second.object]

    api(scenario)


def test_what_leaves_a_selection_is_deleted_to_its_watch(api):
    async def scenario(client, ns):
        listing = await client.list(THING, Selector(ns, "app=x"))
        await client.create(THING, thing(ns, "other"))
        await client.create(THING, thing(ns, metadata={"labels": {"app": "x"}}))
        await client.patch(THING, "a", ns, {"metadata": {"labels": {"app": "y"}}})
        await client.patch(THING, "a", ns, {"metadata": {"labels": {"app": "x"}}})
        events = await events_of(client, ns, listing, 3, labels="app=x")
        assert [event.type for event in events] == ["ADDED", "DELETED", "ADDED"]

    api(scenario)


def test_a_watch_ends_when_its_time_is_up(api):
    async def scenario(client, ns):
        listing = await client.list(THING, Selector(ns))
        watch = client.watch(
            THING, Selector(ns), resource_version=listing.resource_version, timeout_s=1, idle_s=30
        )
        async with asyncio.timeout(10):
            assert [event.type async for event in watch if event.type != "BOOKMARK"] == []

    api(scenario)


def test_a_lease_is_taken_by_whoever_read_it_last(api):
    async def scenario(client, ns):
        spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
        made = await client.create(LEASE, {"metadata": {"name": "l", "namespace": ns}, "spec": spec})
        read = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        await client.patch(LEASE, "l", ns, read | {"spec": {"holderIdentity": "b"}})
        with pytest.raises(Conflict):
            await client.patch(LEASE, "l", ns, read | {"spec": {"holderIdentity": "c"}})
        assert (await client.get(LEASE, "l", ns))["spec"]["holderIdentity"] == "b"

    api(scenario)
