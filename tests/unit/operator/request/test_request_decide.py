"""The phase machine, row by row of the operator reference §2, and what holds for all of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from request_world import World, answer, deployed, profiled, world

from armature.hardware.catalog import GPUS
from armature.hardware.inventory import Inventory, Pool
from armature.operator.names import DISCOVERED, GENERATED_SPEC, SELECTED_POINT
from armature.operator.profiling.answer import Failure, Running
from armature.operator.request.decide import decide

JOB = {"metadata": {"name": "profile-chat", "uid": "j"}, "status": {"active": 1}}
NODES = Inventory((Pool(GPUS["h200_sxm"], 32, 8, 4, True, "rdma/ib"),), "node labels")


def test_first_pass_validates_and_says_so():
    made = world()
    made.step()
    assert made.phase == "Pending"
    assert made.condition("Validation") == ("True", "ValidationPassed", "DGDR spec validation passed")
    assert made.condition("Profiling")[:2] == ("False", "DiscoveringHardware")
    assert made.condition("Succeeded") == ("False", "Pending", "DGDR is pending")
    assert made.events == ["Initialized"]
    assert made.seen.request["status"]["observedGeneration"] == 1


def test_broken_spec_fails_with_every_problem():
    made = world()
    made.step(problems=("spec.sla.itl: wrong", "model cache PVC x not found in namespace ml"))
    assert made.phase == "Failed"
    both = "spec.sla.itl: wrong\nmodel cache PVC x not found in namespace ml"
    assert made.condition("Validation") == ("False", "ValidationFailed", both)
    assert made.condition("Succeeded") == ("False", "ValidationFailed", f"Validation failed: {both}")
    assert made.events == ["ValidationFailed"]
    assert made.step() is None


def test_no_gpu_found_and_none_stated_fails_with_the_fields_words():
    made = world(hardware={})
    made.step(hardware="no nodes found in cluster")
    assert made.phase == "Failed"
    assert made.condition("Validation")[2].startswith("GPU hardware info required but auto-discovery failed.")
    assert made.condition("Validation")[2].endswith("no nodes found in cluster")


def test_discovered_gpus_are_written_into_the_spec_and_stated_ones_are_kept():
    made = world(hardware={"totalGpus": 16})
    made.step(hardware=NODES)
    found = made.step(hardware=NODES)
    assert found.profile
    assert made.phase == "Profiling"
    assert made.seen.spec["hardware"] == {
        "gpuSku": "h200_sxm",
        "vramMb": round(GPUS["h200_sxm"].vram_bytes / 2**20),
        "totalGpus": 16,  # HW-04
        "numGpusPerNode": 8,
        "interconnect": "nvlink",
        "rdma": True,
    }
    assert "32 free h200_sxm on 4 nodes of 8" in made.condition("Profiling")[2]
    assert '"rdmaResource":"rdma/ib"' in made.seen.annotation(DISCOVERED)


def test_several_kinds_of_gpu_leave_the_spec_open_so_that_the_search_may_mix_them():
    mixed = Inventory((*NODES.pools, Pool(GPUS["l40s"], 8, 8, 1)), "node labels")
    made = world(hardware={})
    made.step(hardware=mixed)
    made.step(hardware=mixed)
    assert made.seen.spec["hardware"] == {}
    assert "l40s" in made.seen.annotation(DISCOVERED)
    assert "8 free l40s" in made.condition("Profiling")[2]


def test_pending_spec_may_be_changed_and_is_judged_anew():  # C-19
    made = world()
    made.step()
    made.seen.request["spec"]["model"] = "other"
    made.seen.request["metadata"]["generation"] = 2
    made.step()
    assert made.phase == "Pending"
    assert made.seen.request["status"]["observedGeneration"] == 2


def test_job_mode_names_its_job_and_says_what_of_a_foreign_image_is_used():
    made = profiled(image="nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.1.1")
    assert made.seen.status["profilingJobName"] == "profile-chat"
    assert made.seen.status["profilingPhase"] == "Initializing"
    assert made.events == ["Initialized", "ProfilingJobCreated", "ProfilerImage"]
    assert "dynamo-planner:1.1.1" in made.told[-1].message


def test_inline_mode_is_said_and_has_no_job():
    made = profiled(inline=True)
    assert "profilingJobName" not in made.seen.status
    assert "profiling: inline" in made.condition("Profiling")[2]
    assert made.events == ["Initialized"]


def test_sub_phases_come_through_and_job_shows_as_running():
    made = profiled()
    made.step(job=JOB)
    assert made.condition("Profiling") == ("False", "ProfilingRunning", "Profiling is in progress")
    made.step(outcome=Running("SweepingDecode", "text"))
    assert made.seen.status["profilingPhase"] == "SweepingDecode"
    assert made.condition("Profiling") == ("False", "SweepingDecode", "text")
    made.step(outcome=Running("Done", "text"))
    assert made.condition("Profiling")[1] == "Completed"


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes"}


def waiting(reason, **more):
    return {"containerStatuses": [{"name": "profiler", "state": {"waiting": {"reason": reason, **more}}}]}


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (
            waiting("ImagePullBackOff", message="no such tag"),
            "ImagePullBackOff",
            "pod p container profiler: ImagePullBackOff: no such tag",
        ),
        (
            {"conditions": [UNSCHEDULABLE]},
            "Unschedulable",
            "pod p cannot be scheduled: 0/4 nodes",
        ),
        (
            waiting("CrashLoopBackOff"),
            "CrashLoopBackOff",
            "pod p container profiler: CrashLoopBackOff",
        ),
    ],
)  # fmt: skip
def test_a_pod_that_cannot_run_is_said_once_in_its_own_words(status, reason, text):
    made = profiled()
    pods = ({"metadata": {"name": "p"}, "status": status},)
    made.step(job=JOB, pods=pods)
    assert made.phase == "Profiling"
    assert made.condition("Profiling") == ("False", reason, text)
    before = len(made.told)
    made.step()
    assert len(made.told) == before


def test_failed_job_carries_the_pods_last_words():
    made = profiled()
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "killed\n"}
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "profiler", "state": {"terminated": ended}}]},
    }
    job = JOB | {
        "status": {
            "conditions": [{"type": "Failed", "status": "True", "message": "Job has reached the limit"}]
        }
    }
    made.step(job=job, pods=(pod,))
    assert made.phase == "Failed"
    assert made.condition("Profiling") == (
        "False",
        "InitializingFailed",
        "profiling job failed: Job has reached the limit. Details: Pod: p, Container: profiler, ExitCode: 137, "
        "Reason: OOMKilled, Message: killed",
    )
    assert made.condition("Succeeded")[2].startswith("Profiling failed: profiling job failed:")
    assert made.events[-1] == "ProfilingCheckFailed"


def test_profilers_own_reason_wins():
    made = profiled()
    made.step(job=JOB, outcome=Failure("nothing fits"))
    assert made.condition("Profiling") == ("False", "InitializingFailed", "profiling failed: nothing fits")


def test_deleted_job_without_result_fails_and_with_one_does_not():
    made = profiled()
    made.step(job=None)
    assert made.phase == "Failed"
    other = profiled()
    other.step(job=None, outcome=answer())
    assert other.phase == "Deploying"


def test_answer_is_stored_and_without_auto_apply_the_request_is_ready():  # REQ-05
    made = profiled(autoApply=False)
    made.step(
        job=JOB,
        outcome=answer(
            missed=["ITL is predicted at 50 ms, 25% above the 40 ms asked"], would_meet=["12 GPUs would."]
        ),
    )
    assert made.phase == "Ready"
    results = made.seen.status["profilingResults"]
    assert results["selectedConfig"]["kind"] == "DynamoGraphDeployment"
    assert results["selectedConfig"]["metadata"]["labels"] == {
        "mine": "yes",
        "dgdr.nvidia.com/name": "chat",
        "dgdr.nvidia.com/namespace": "ml",
        "nvidia.com/managed-by": "dynamo-operator",
    }
    assert [item["point"] for item in results["pareto"]] == [1, 2]
    assert results["startTime"] == results["completionTime"] == "2026-11-25T05:00:00Z"  # LIFE-19
    assert made.seen.status["dgdName"] == "chat-dgd"
    assert "profilingPhase" not in made.seen.status
    assert "chat-dgd" in made.seen.annotation(GENERATED_SPEC)
    assert made.condition("Profiling") == (
        "True",
        "ProfilingCompleted",
        "Profiling job completed successfully",
    )
    assert (
        made.condition("SpecGenerated")[2]
        == "Generated spec is available in annotation nvidia.com/generated-dgd-spec"
    )
    assert made.condition("SLAMet") == (
        "False",
        "Missed",
        "ITL is predicted at 50 ms, 25% above the 40 ms asked. 12 GPUs would.",
    )
    assert made.condition("Succeeded") == ("True", "SpecGenerated", "Profiling complete, spec available")
    assert made.step() is None


def test_ready_is_activated_by_auto_apply():
    made = profiled(autoApply=False)
    made.step(job=JOB, outcome=answer())
    made.seen.request["spec"]["autoApply"] = True
    made.seen.request["metadata"]["generation"] += 1
    made.step()
    assert made.phase == "Deploying"


def test_auto_apply_deploys_once_and_follows_the_graph():
    made = profiled()
    made.step(job=JOB, outcome=answer())
    assert made.phase == "Deploying"
    assert made.step().deploy
    assert made.condition("DeploymentReady") == (
        "False",
        "DeploymentInProgress",
        "DGD chat-dgd is in initializing state",
    )
    found = made.step()
    assert not found.deploy
    assert found.adopt
    assert made.seen.annotation(GENERATED_SPEC) == ""
    assert made.events[-1] == "DeploymentCreated"
    graph = made.seen.graph | {
        "status": {"state": "successful", "components": {"a": {"replicas": 2, "availableReplicas": 1}}}
    }
    made.step(graph=graph)
    assert made.phase == "Deployed"
    assert made.seen.status["deploymentInfo"] == {"replicas": 2, "availableReplicas": 1}
    assert made.condition("DeploymentReady") == (
        "True",
        "DeploymentReady",
        "DynamoGraphDeployment chat-dgd is ready",
    )
    assert made.condition("Succeeded") == ("True", "Deployed", "Deployment is healthy")


def test_degraded_graph_goes_back_to_deploying_and_may_recover():
    made = deployed()
    sick = made.seen.graph | {"status": {"state": "pending"}}
    made.step(graph=sick)
    assert made.phase == "Deploying"
    assert made.condition("DeploymentReady") == (
        "False",
        "DeploymentDegraded",
        "Deployment degraded to pending",
    )
    assert made.told[-1].message == "DynamoGraphDeployment chat-dgd degraded from Ready to pending"
    made.step(graph=sick | {"status": {"state": "successful"}})
    assert made.phase == "Deployed"


@pytest.mark.parametrize("late", [True, False])
def test_graph_deleted_by_its_user_is_not_made_again(late):
    made = deployed() if late else profiled()
    if not late:
        made.step(job=JOB, outcome=answer())
        made.step()
        made.step()
    made.step(graph=None)
    assert made.phase == "Failed"
    assert made.condition("DeploymentReady")[:2] == ("False", "DeploymentDeleted")
    assert "dgdName" not in made.seen.status
    assert made.told[-1].message.startswith("DGD chat-dgd was deleted.")


def test_graph_of_that_name_that_is_not_ours_is_left_alone():
    made = profiled()
    made.step(job=JOB, outcome=answer())
    made.step(graph={"metadata": {"name": "chat-dgd", "labels": {}}})
    assert made.phase == "Failed"
    assert made.condition("DeploymentReady")[1] == "DeploymentRejected"


def test_image_that_cannot_be_pulled_is_told_once():
    made = profiled()
    made.step(job=JOB, outcome=answer())
    made.step()
    made.step(stuck=(("p", "main", "ImagePullBackOff", "denied"),))
    made.step()
    assert made.events.count("ImagePullFailed") == 1
    assert made.condition("DeploymentReady")[2].endswith("pod p container main: ImagePullBackOff: denied")


def test_spec_changed_too_late_is_rejected_and_changes_nothing():  # VAL-07
    made = profiled()
    made.seen.request["metadata"]["generation"] += 1
    before = copy.deepcopy(made.seen.request["status"])
    made.step(job=JOB)
    assert made.seen.request["status"] == before
    assert made.told[-1].reason == "SpecChangeRejected"
    assert "phase 'Profiling'" in made.told[-1].message


def choose(made: World, point: str) -> None:
    made.seen.request["metadata"].setdefault("annotations", {})[SELECTED_POINT] = point


def test_another_point_is_taken_while_ready():  # REQ-16
    made = profiled(autoApply=False)
    made.step(job=JOB, outcome=answer())
    choose(made, "2")
    made.step(selected=answer("disagg-1"))
    assert made.phase == "Ready"
    graph = made.seen.status["profilingResults"]["selectedConfig"]
    assert graph["metadata"]["annotations"]["dgdr.nvidia.com/point"] == "disagg-1"
    assert made.condition("PointSelected")[:2] == ("True", "PointSelected")
    assert made.step(selected=None) is None


def test_another_point_replaces_a_graph_that_is_not_yet_deployed():
    made = profiled()
    made.step(job=JOB, outcome=answer())
    made.step()
    made.step()
    choose(made, "2")
    made.step(selected=answer("disagg-1"))
    found = made.step(selected=None)
    assert found.replace
    assert made.seen.graph is None
    assert made.step().deploy
    assert made.seen.graph["metadata"]["annotations"]["dgdr.nvidia.com/point"] == "disagg-1"


def test_another_point_is_refused_once_deployed():
    made = deployed()
    choose(made, "2")
    made.step()
    assert made.phase == "Deployed"
    assert made.condition("PointSelected")[:2] == ("False", "PointRefused")
    assert "Delete DynamoGraphDeployment chat-dgd" in made.told[-1].message
    made.step()
    assert made.events.count("PointRefused") == 1


def test_unknown_point_is_said_and_does_not_keep_the_graph_from_being_made():
    made = profiled()
    made.step(job=JOB, outcome=answer())
    choose(made, "99")
    assert made.step(selected=Failure("no such candidate")).deploy
    assert made.condition("PointSelected")[1] == "PointUnknown"


def test_unknown_phase_fails():
    made = world()
    made.seen.request["status"] = {"phase": "Wondering"}
    made.step()
    assert made.condition("Validation")[1:] == ("InvalidState", "Invalid state 'Wondering'")


def settled(made: World) -> bool:
    """Whether a further pass would change nothing."""
    before = copy.deepcopy(made.seen.request)
    writes, told = made.writes, len(made.told)
    found = made.step()
    if found is None:
        return True
    return (
        made.seen.request == before and made.writes == writes and len(made.told) == told and not found.replace
    )


OUTCOMES = st.sampled_from(
    [None, Running("SweepingPrefill", "x"), Failure("no"), answer(), answer(missed=["x"])]
)
STATES = st.sampled_from(["initializing", "pending", "successful", "failed", "gone"])


@given(st.booleans(), st.booleans(), st.lists(OUTCOMES, max_size=3), st.lists(STATES, max_size=4))
def test_whatever_is_observed_passes_come_to_rest_and_a_pass_made_twice_is_one(
    inline, auto, outcomes, states
):
    """Level-triggered: the same observation again asks for nothing new, except to go on with profiling."""
    made = world(inline, autoApply=auto)
    made.step()
    made.step()
    for outcome in outcomes:
        made.step(job=JOB, outcome=outcome)
    for state in states:
        graph = made.seen.graph
        if graph is not None:
            made.seen = replace(
                made.seen, graph=None if state == "gone" else graph | {"status": {"state": state}}
            )
        made.step()
    for _ in range(6):
        again = decide(made.seen, inline=inline)
        assert again == decide(made.seen, inline=inline)
        if settled(made):
            break
    assert settled(made)
