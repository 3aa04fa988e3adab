"""Which images a process node runs: Armature's own, by name, and what else the operator of the node maps to it.

The contents of every image here are this machine's: its root file system and the Python environment of the agent.
Any other image cannot be pulled, and its pods say so as on a real node.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from armature_testbed.process_node.lifecycle import Policy, doubled_s

__all__ = ["OWN_IMAGES", "ImageRule", "Refusal", "image_rule", "pull_refusal", "rule_of", "waiting_for_image"]

_REFERENCE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)
_ENTRYPOINT = ("python3", "-m", "armature")


@dataclass(frozen=True, slots=True)
class ImageRule:
    """Images whose name, without tag and digest, matches `pattern` (as in a shell) run here. A pattern without `/`
    is compared with the last part of the name. entrypoint: the command of containers that give none."""

    pattern: str
    entrypoint: tuple[str, ...] = _ENTRYPOINT


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a container waits for its image: `ErrImagePull` and the like, and the sentence beside it."""

    reason: str
    message: str


OWN_IMAGES = ImageRule("armature*")


def image_rule(text: str) -> ImageRule:
    """`PATTERN` or `PATTERN=COMMAND`, as `--image` takes it. Raises ValueError on an empty pattern."""
    pattern, _, command = text.partition("=")
    if not pattern.strip():
        raise ValueError(
            f"--image {text!r}: no pattern; write NAME or NAME=COMMAND, such as 'python=python3'"
        )
    return ImageRule(pattern.strip(), tuple(shlex.split(command)) or _ENTRYPOINT)


def rule_of(image: str, rules: Sequence[ImageRule]) -> ImageRule | None:
    """The first rule that an image matches."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    last = name.rpartition("/")[2]
    return next(
        (rule for rule in rules if fnmatch.fnmatchcase(name if "/" in rule.pattern else last, rule.pattern)),
        None,
    )


def pull_refusal(image: str, pull_policy: str, rules: Sequence[ImageRule]) -> Refusal | None:
    """Why an image cannot be run here; None when it can."""
    if _REFERENCE.fullmatch(image) is None:
        return Refusal(
            "InvalidImageName", f'Failed to apply default image tag "{image}": couldn\'t parse image name'
        )
    if rule_of(image, rules) is not None:
        return None
    taken = ", ".join(rule.pattern for rule in rules)
    why = f"a process node runs Armature's own images only (named {taken}); --image adds others"
    if pull_policy == "Never":
        return Refusal("ErrImageNeverPull", f'Container image "{image}" is not present: {why}')
    return Refusal("ErrImagePull", f'failed to pull image "{image}": {why}')


def waiting_for_image(image: str, refusal: Refusal, attempts: int, policy: Policy) -> tuple[Refusal, float]:
    """What a container says after `attempts` failed pulls, and for how many seconds until the next one.

    The first attempt's own error is shown until the next look; then the back-off is, as a kubelet does.
    """
    if refusal.reason != "ErrImagePull":
        return refusal, policy.first_s
    if attempts <= 1:
        return refusal, policy.config_retry_s
    delay_s = doubled_s(attempts - 1, policy)
    return Refusal(
        "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {refusal.message}'
    ), delay_s
