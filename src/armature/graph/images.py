"""Which image and which runtime version a generated component runs (C-03, PK-01)."""

from __future__ import annotations

import re

import msgspec

__all__ = ["DEFAULT_REGISTRY", "DEFAULT_VERSION", "Images", "images_for"]

DEFAULT_REGISTRY = "nvcr.io/nvidia/ai-dynamo"
DEFAULT_VERSION = "1.2.0"
"""The newest release whose engine pins the seeds state (PK-02)."""

_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)([-.+][0-9A-Za-z.+-]*)?")
_RUNTIMES = {"vllm": "vllm-runtime", "sglang": "sglang-runtime", "trtllm": "tensorrtllm-runtime"}


class Images(msgspec.Struct, frozen=True):
    """Registry and tag shared by every image of one graph; `version` is the tag's (major, minor, patch)."""

    registry: str
    tag: str
    version: tuple[int, int, int]
    notes: tuple[str, ...] = ()

    def runtime(self, backend: str) -> str:
        """Image of an engine and of the frontend beside it; mocker engines live in the planner's image."""
        return f"{self.registry}/{_RUNTIMES[backend]}:{self.tag}" if backend in _RUNTIMES else self.planner

    @property
    def planner(self) -> str:
        return f"{self.registry}/dynamo-planner:{self.tag}"


def images_for(image: str | None, version_override: str | None) -> Images:
    """Images for a request.

    `spec.runtimeVersionOverride` decides the tag; else the tag of `spec.image` when it is a semantic version;
    else `DEFAULT_VERSION`. The registry path of `spec.image` carries over, its digest never does: it names
    another image's contents.
    """
    registry, tag, digest = _parts(image)
    notes = []
    if digest:
        notes.append("The digest of spec.image names that image alone; generated components use tags.")
    if version_override:
        tag = version_override
    elif tag is None or _SEMVER.fullmatch(tag) is None:
        if image:
            notes.append(
                f"spec.image has no semantic-version tag; components run {DEFAULT_VERSION}. "
                "Set spec.runtimeVersionOverride to choose."
            )
        tag = DEFAULT_VERSION
    match = _SEMVER.fullmatch(tag)
    version = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    return Images(registry or DEFAULT_REGISTRY, tag, version, tuple(notes))


def _parts(image: str | None) -> tuple[str | None, str | None, str | None]:
    """(registry path, tag, digest) of an image reference; a port in the registry is not a tag."""
    if not image:
        return None, None, None
    name, _, digest = image.partition("@")
    path, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return (path if slash else None), (tag or None), (digest or None)
