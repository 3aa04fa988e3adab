"""The real hub client against a server on this machine that speaks the hub's file protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from armature.errors import ModelUnknown
from armature.model.hub import HuggingFaceHub
from armature.model.resolve import resolve_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 512,
}  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/":
            self._send(200, b"", {}, with_body)
        elif (
            self.path == f"/org/there/resolve/{COMMIT}/config.json"
            or self.path == "/org/there/resolve/main/config.json"
        ):
            body = json.dumps(CONFIG).encode()
            etag = hashlib.sha1(body).hexdigest()
            self._send(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, with_body)
        elif self.path.startswith("/org/there/"):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, with_body)
        elif self.path.startswith("/org/gated/"):
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, with_body)
        elif self.path.startswith("/org/empty/"):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, with_body)
        elif self.path.startswith("/org/broken/"):
            self._send(400, b"", {}, with_body)
        else:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _env(server, tmp_path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_TOKEN": "a-token",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }


def test_only_config_files_are_fetched_and_kept_in_the_cache(server, tmp_path):
    env = _env(server, tmp_path)
    facts = resolve_model("org/there", env=env)
    assert facts.layers == 2
    assert facts.source == "the Hugging Face hub, org/there"
    files = {path.rsplit("/", 1)[-1] for path, _ in server.asked if path != "/"}
    assert files == {"config.json", "hf_quant_config.json", "model.safetensors.index.json"}
    assert ("/org/there/resolve/main/config.json", "Bearer a-token") in server.asked
    server.asked.clear()
    assert resolve_model("org/there", env=env).source.startswith("model cache")
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("org/gated", "HF_TOKEN"), ("org/nowhere", "check the spelling"), ("org/empty", "no config.json"),
        ("org/broken", "cannot be fetched"), ("a/b/c", "names are"),
    ],
)  # fmt: skip
def test_the_hub_says_no_in_words(server, tmp_path, name, says):
    env = _env(server, tmp_path)
    with pytest.raises(ModelUnknown) as caught:
        HuggingFaceHub(env, tmp_path / "cache").fetch(name)
    assert says in str(caught.value)
