"""Fetches a model's config files from the Hugging Face hub: the only module of the room that uses the network.

A machine without network must learn so at once, whatever its resolver does, so the hub is first asked for anything
at all, in a thread that may be left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from armature.errors import ModelUnknown

__all__ = ["Hub", "HuggingFaceHub"]

_FILES = ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
_REACH_SECONDS = 1.0
_FILE_SECONDS = 5.0


class Hub(Protocol):
    """Where config files can be fetched from."""

    def fetch(self, name: str) -> Path:
        """A directory with the model's config.json. Raises ModelUnknown with what to do about it."""
        ...


class HuggingFaceHub:
    """The hub at `$HF_ENDPOINT`, with `$HF_TOKEN`; files go to the Hugging Face cache, as for every other tool."""

    def __init__(self, env: Mapping[str, str], cache: Path) -> None:
        self._endpoint = env.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
        self._token = env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or None
        self._cache = cache

    def fetch(self, name: str) -> Path:
        if not self._reachable():
            mend = (
                f"{self._endpoint} does not answer: check the network, or give the path of a directory with its "
                "config.json, or a model cache that has it"
            )
            raise ModelUnknown(f"model {name!r} is not on this machine and the hub cannot be reached", mend)
        # slow to import, and needed only here
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )

        directory: Path | None = None
        for file in _FILES:
            try:
                path = hf_hub_download(
                    name,
                    file,
                    cache_dir=self._cache,
                    token=self._token,
                    endpoint=self._endpoint,
                    etag_timeout=_FILE_SECONDS,
                )
            except GatedRepoError as error:
                mend = "accept its licence on the hub and set HF_TOKEN to a token that may read it"
                raise ModelUnknown(f"model {name!r} is gated on the hub", mend) from error
            except RepositoryNotFoundError as error:
                mend = "check the spelling; for a private model set HF_TOKEN"
                raise ModelUnknown(f"the hub has no model {name!r} that may be read", mend) from error
            except HFValidationError as error:
                raise ModelUnknown(f"{name!r} is not a model's name", "names are <org>/<model>") from error
            except LocalEntryNotFoundError as error:
                mend = "try again, or give the path of a directory with its config.json"
                raise ModelUnknown(
                    f"model {name!r} cannot be fetched from the hub: no useful answer", mend
                ) from error
            except EntryNotFoundError as error:
                if file == "config.json":
                    mend = "give a model in Hugging Face format"
                    raise ModelUnknown(f"model {name!r} has no config.json on the hub", mend) from error
                continue
            except (HfHubHTTPError, OSError) as error:
                mend = "try again, or give the path of a directory with its config.json"
                raise ModelUnknown(f"model {name!r} cannot be fetched from the hub: {error}", mend) from error
            directory = directory or Path(path).parent
        if directory is None:
            raise ModelUnknown(f"model {name!r} has no config.json on the hub")
        return directory

    def _reachable(self) -> bool:
        import httpx

        answered = threading.Event()

        def ask() -> None:
            try:
                httpx.head(self._endpoint, timeout=_REACH_SECONDS)
            except (httpx.HTTPError, OSError, ValueError):
                return
            answered.set()

        thread = threading.Thread(target=ask, name="armature-hub-probe", daemon=True)
        thread.start()
        thread.join(_REACH_SECONDS)
        return answered.is_set()
