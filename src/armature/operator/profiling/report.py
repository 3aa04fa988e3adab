"""How profiling speaks: as the data of a ConfigMap and as files, in the words that the field's profiler uses.

`phase` and `message` while it runs, `profiler_status` success or failed at the end, with `final_config.yaml` or
`profiler_error` (dynamo-operator reference §2). Ours besides: `answer.json`, and the profile, compressed.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from armature.operator.profiling.answer import Answer, Failure, Outcome, Running

__all__ = ["MESSAGES", "answered", "failed_with", "outcome_of", "told"]

MESSAGES = {
    "Initializing": "Reading the model and the hardware",
    "SweepingPrefill": "Step times of the workers that hold a prompt",
    "SweepingDecode": "Every layout of them at its operating point",
    "SelectingConfig": "The best layout and the Pareto front",
    "BuildingCurves": "Curves and step tables of the choice",
    "GeneratingDGD": "The DynamoGraphDeployment of the choice",
    "Done": "Profiling is done",
}
_ANSWER, _PROFILE = "answer.json", "profile.json.gz"
Data = dict[str, Any]


def told(step: str) -> Data:
    """A ConfigMap's `data` and `binaryData` while profiling is at a sub-phase."""
    return {"data": {"phase": step, "message": MESSAGES[step], "profiler_status": "running"}}


def failed_with(step: str, failure: Failure) -> Data:
    error = {"profiler_status": "failed", "profiler_error": failure.message}
    return {"data": told(step)["data"] | error}


def answered(answer: Answer) -> Data:
    from armature.api.write import to_yaml_documents

    said = structs.replace(answer, profile=b"")  # which goes beside it
    data = told("Done")["data"] | {
        "profiler_status": "success",
        "final_config.yaml": to_yaml_documents([*answer.extras, answer.graph]),
        _ANSWER: msgspec.json.encode(said).decode(),
    }
    packed = base64.b64encode(gzip.compress(answer.profile, mtime=0)).decode()
    return {"data": data, "binaryData": {_PROFILE: packed}}


def outcome_of(config_map: Mapping[str, Any] | None) -> Outcome | None:
    """What a ConfigMap says of profiling; None when nothing yet."""
    data = (config_map or {}).get("data") or {}
    state = data.get("profiler_status")
    if state == "failed":
        return Failure(data.get("profiler_error") or data.get("message") or "the profiler gave no reason")
    if state == "success":
        return _answer(data, (config_map or {}).get("binaryData") or {})
    return Running(data["phase"], data.get("message") or "") if data.get("phase") else None


def _answer(data: Mapping[str, str], binary: Mapping[str, str]) -> Answer | Failure:
    try:
        said = msgspec.json.decode(data[_ANSWER], type=Answer)
        profile = gzip.decompress(base64.b64decode(binary[_PROFILE], validate=True))
    except (KeyError, ValueError, OSError, EOFError, msgspec.MsgspecError) as error:
        return Failure(f"its result cannot be read ({type(error).__name__}: {error})")
    return structs.replace(said, profile=profile)
