"""What a request needs next: the phase machine of the field's operator, as a pure function of what is observed.

    Pending ── valid, GPUs known ──► Profiling ── answer ──► Ready | Deploying ──► Deployed
       │                                │                              │  ▲           │
       └───────────── Failed ◄──────────┴──────────────────────────────┘  └─ degraded ┘

Every pass starts from the objects alone, so a pass that was cut short anywhere is simply made again: what it made has
a name that the next one finds, what it told is told once, and the status is written last. Phases, texts and events are
those of the dynamo-operator reference §2.
"""

from __future__ import annotations

from collections.abc import Callable

from armature.operator.names import job_name
from armature.operator.profiling.answer import Answer, Failure, Running
from armature.operator.request import deploying, texts
from armature.operator.request.draft import Draft, failed
from armature.operator.request.found import hardware_fields, hardware_text
from armature.operator.request.pods import is_active, job_failure, trouble
from armature.operator.request.results import write_answer
from armature.operator.request.state import Event, Observed, Pass
from armature.operator.runtime.conditions import timestamp

__all__ = ["decide"]

_FROZEN = ("Profiling", "Deploying", "Ready", "Deployed")


def decide(seen: Observed, *, inline: bool) -> Pass | None:
    """The next pass of a request; None when there is nothing that a pass could do.

    inline: whether this operator profiles in its own processes rather than in a Job.
    """
    phase = str(seen.status.get("phase") or "")
    if phase == "Failed":
        return None
    if _changed_in_vain(seen, phase):
        message = texts.SPEC_CHANGE_REJECTED.format(phase=phase)
        return Pass(
            dict(seen.status), events=[Event("Warning", "SpecChangeRejected", message, str(seen.generation))]
        )
    step = _STEPS.get(phase)
    if step is None:
        return failed(seen, "Validation", "InvalidState", f"Invalid state {phase!r}", "ValidationFailed")
    return step(seen, inline)


def _changed_in_vain(seen: Observed, phase: str) -> bool:
    """Whether the spec was changed when it may no longer be. The API server refuses this; a change that got past it
    (the webhook and the rule in the CRD both off) has no effect."""
    known = int(seen.status.get("observedGeneration") or 0)
    if not known or known == seen.generation or phase not in _FROZEN:
        return False
    auto = seen.spec.get("autoApply", True)
    return not ((phase in ("Profiling", "Ready") and not auto) or (phase == "Ready" and auto))


def _pending(seen: Observed, inline: bool) -> Pass:
    """First the spec is judged, then, in a pass of its own so that a watcher sees it, profiling starts."""
    if seen.problems:
        return failed(seen, "Validation", "ValidationFailed", "\n".join(seen.problems), "ValidationFailed")
    if isinstance(seen.hardware, str):
        message = f"{texts.NO_HARDWARE} {seen.hardware}"
        return failed(seen, "Validation", "ValidationFailed", message, "ValidationFailed")
    draft = Draft(seen)
    if int(seen.status.get("observedGeneration") or 0) != seen.generation:
        draft.conditions.set("Validation", "True", "ValidationPassed", texts.VALIDATED)
        draft.conditions.set("Profiling", "False", "DiscoveringHardware", texts.DISCOVERING)
        return draft.done("Pending", events=[Event("Normal", "Initialized", texts.INITIALIZED)])
    found = hardware_text(seen.hardware)
    draft.fields["profilingPhase"] = "Initializing"
    draft.fields["profilingResults"] = {"startTime": timestamp(seen.now)}
    if inline:
        draft.conditions.set("Profiling", "False", "Initializing", f"{texts.INLINE}{found}")
        return draft.done("Profiling", profile=True, patch=hardware_fields(seen))
    draft.fields["profilingJobName"] = job_name(seen.name)
    draft.conditions.set("Profiling", "False", "Initializing", f"{texts.DISCOVERING}{found}")
    events = [Event("Normal", "ProfilingJobCreated", texts.JOB_CREATED), *_image_event(seen)]
    return draft.done("Profiling", profile=True, patch=hardware_fields(seen), events=events)


def _image_event(seen: Observed) -> list[Event]:
    image = seen.spec.get("image")
    return [Event("Normal", "ProfilerImage", texts.FOREIGN_IMAGE.format(image=image))] if image else []


def _profiling(seen: Observed, inline: bool) -> Pass:
    outcome = seen.outcome
    if isinstance(outcome, Answer):
        return _answered(seen, outcome)
    if isinstance(outcome, Failure):
        return _profiling_failed(seen, f"profiling failed: {outcome.message}")
    own = inline and not seen.status.get("profilingJobName")
    if own and isinstance(seen.hardware, str):
        return _profiling_failed(seen, f"profiling failed: {texts.NO_HARDWARE} {seen.hardware}")
    if own:
        return _told(seen, outcome or Running(), profile=outcome is None)
    if seen.job is None:
        return _profiling_failed(seen, texts.JOB_GONE)
    why = job_failure(seen.job, seen.pods)
    if why is not None:
        return _profiling_failed(seen, f"profiling job failed: {why}")
    return _told(seen, outcome or Running())


def _told(seen: Observed, running: Running, profile: bool = False) -> Pass:
    """Profiling goes on: the sub-phase, or what keeps its pod from running."""
    draft = Draft(seen)
    stuck = trouble(seen.pods)
    if stuck is not None:
        reason, message = stuck
        told = not draft.conditions.set("Profiling", "False", reason, message)
        events = [] if told else [Event("Warning", reason, message)]
        return draft.done("Profiling", profile=profile, events=events)
    if running.step:
        draft.fields["profilingPhase"] = running.step
        reason = "Completed" if running.step == "Done" else running.step
        draft.conditions.set("Profiling", "False", reason, running.message)
    elif draft.conditions.get("Profiling").get("reason") != "Initializing" or is_active(seen.job):
        draft.conditions.set("Profiling", "False", "ProfilingRunning", texts.RUNNING)
    return draft.done("Profiling", profile=profile)


def _profiling_failed(seen: Observed, message: str) -> Pass:
    phase = str(seen.status.get("profilingPhase") or "Profiling")
    return failed(seen, "Profiling", f"{phase}Failed", message, "ProfilingCheckFailed")


def _answered(seen: Observed, answer: Answer) -> Pass:
    """Profiling is done: the results, and on to Ready or, with autoApply, to Deploying."""
    draft = Draft(seen)
    auto = bool(seen.spec.get("autoApply", True))
    draft.fields["profilingPhase"] = None
    draft.conditions.set("Profiling", "True", "ProfilingCompleted", texts.COMPLETED)
    patch = write_answer(draft, answer)
    message = texts.GENERATED if auto else texts.GENERATED_TO_READ
    draft.conditions.set("SpecGenerated", "True", "SpecGenerated", message)
    events = [Event("Normal", "SpecGenerated", message)]
    return draft.done("Deploying" if auto else "Ready", patch=patch, events=events)


def _ready(seen: Observed, inline: bool) -> Pass | None:
    if seen.selected is not None:
        return deploying.selected(seen, Draft(seen))
    if seen.spec.get("autoApply", True):
        return Draft(seen).done("Deploying")
    if int(seen.status.get("observedGeneration") or 0) != seen.generation:
        return Draft(seen).done("Ready")
    return None


def _deploying(seen: Observed, inline: bool) -> Pass:
    return deploying.deploying(seen, Draft(seen))


def _deployed(seen: Observed, inline: bool) -> Pass:
    return deploying.deployed(seen, Draft(seen))


_STEPS: dict[str, Callable[[Observed, bool], Pass | None]] = {
    "": _pending,
    "Pending": _pending,
    "Profiling": _profiling,
    "Ready": _ready,
    "Deploying": _deploying,
    "Deployed": _deployed,
}
