"""Where a model's config is found, in which order, and what a user reads when it is nowhere. MC-02."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from armature.errors import InvalidInput, ModelUnknown
from armature.model.bundle import bundled_config, config_directory
from armature.model.hub import HuggingFaceHub
from armature.model.read import facts_from_directory
from armature.model.resolve import bundled_models, resolve_model

NAME = "some-org/Tiny-Model"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000,
    "max_position_embeddings": 512,
}  # fmt: skip


class FakeHub:
    """A hub with one model, which counts how often it is asked."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory, self.asked = directory, 0

    def fetch(self, name: str) -> Path:
        self.asked += 1
        if self.directory is None:
            raise ModelUnknown(f"the hub has no model {name!r} that may be read", "check the spelling")
        return self.directory


def write_model(directory: Path, **changes: object) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return directory


def snapshot(root: Path, revision: str, **changes: object) -> Path:
    return write_model(root / "models--some-org--Tiny-Model" / "snapshots" / revision, **changes)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def test_a_directory_or_its_config_file_is_a_model(tmp_path, env):
    directory = write_model(tmp_path / "model")
    (directory / "tokenizer.json").write_text("{}")
    for given in (str(directory), f"{directory}/", str(directory / "config.json")):
        facts = resolve_model(given, env=env, hub=FakeHub())
        assert facts.layers == 2
        assert facts.config_dir == facts.tokenizer_dir == directory
    (directory / "tokenizer.json").unlink()
    assert resolve_model(str(directory), env=env, hub=FakeHub()).tokenizer_dir is None


def test_home_is_understood(tmp_path, env):
    write_model(tmp_path / "home" / "m")
    assert resolve_model("~/m", env=env, hub=FakeHub()).layers == 2


def test_a_path_without_config_is_said_to_be_so(tmp_path, env):
    with pytest.raises(ModelUnknown, match=r"has no config\.json"):
        resolve_model(str(tmp_path), env=env, hub=FakeHub())
    with pytest.raises(ModelUnknown, match="does not exist"):
        resolve_model(str(tmp_path / "nowhere"), env=env, hub=FakeHub())


def test_model_cache_volume(tmp_path, env):
    """MC-02: hub/models--<org>--<name>/snapshots/<hash>/ below the volume's mount path."""
    directory = snapshot(tmp_path / "volume" / "hub", "abc")
    hub = FakeHub()
    facts = resolve_model(NAME, env=env, cache=tmp_path / "volume", hub=hub)
    assert facts.config_dir == directory
    assert facts.name == NAME
    assert hub.asked == 0


def test_hugging_face_cache_follows_refs_main_then_the_newest(tmp_path, env):
    root = tmp_path / "cache"
    old, new = snapshot(root, "old"), snapshot(root, "new", num_hidden_layers=3)
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    env["HF_HUB_CACHE"] = str(root)
    assert resolve_model(NAME, env=env, hub=FakeHub()).layers == 3
    refs = root / "models--some-org--Tiny-Model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("old\n")
    assert resolve_model(NAME, env=env, hub=FakeHub()).layers == 2
    # the snapshot folder or the model's folder itself may be given as well
    assert resolve_model(str(refs.parent), env=env, hub=FakeHub()).layers == 2


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_cache_variables(tmp_path, env, variable, below):
    snapshot(tmp_path / "there" / below, "abc")
    env[variable] = str(tmp_path / "there")
    assert resolve_model(NAME, env=env, hub=FakeHub()).layers == 2


def test_a_cache_wins_over_the_bundle_and_the_bundle_over_the_hub(tmp_path, env):
    name = "Qwen/Qwen3-0.6B"
    hub = FakeHub(write_model(tmp_path / "from-hub"))
    assert resolve_model(name, env=env, hub=hub).layers == 28
    assert hub.asked == 0
    write_model(tmp_path / "volume" / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "x")
    assert resolve_model(name, env=env, cache=tmp_path / "volume", hub=hub).layers == 2


def test_the_hub_is_last(tmp_path, env):
    hub = FakeHub(write_model(tmp_path / "from-hub"))
    facts = resolve_model(NAME, env=env, hub=hub)
    assert facts.config_dir == tmp_path / "from-hub"
    assert "hub" in facts.source


@pytest.mark.parametrize(("offline", "extra"), [(True, {}), (False, {"HF_HUB_OFFLINE": "1"})])
def test_offline_never_asks_the_hub(tmp_path, env, offline, extra):
    hub = FakeHub(write_model(tmp_path / "from-hub"))
    with pytest.raises(ModelUnknown, match="HF_HUB_OFFLINE"):
        resolve_model(NAME, offline=offline, env={**env, **extra}, hub=hub)
    assert hub.asked == 0


def test_names_are_suggested(env):
    with pytest.raises(ModelUnknown, match=r"did you mean meta-llama/Llama-3\.1-8B-Instruct"):
        resolve_model("Llama-3.1-8B-Instruct", env=env, hub=FakeHub())
    with pytest.raises(ModelUnknown, match=r"did you mean .*Qwen/Qwen3-32B"):
        resolve_model("Qwen/Qwen3-33B", offline=True, env=env)


def test_case_is_forgiven_and_said(env):
    facts = resolve_model("qwen/qwen2.5-7b-instruct", env=env, hub=FakeHub())
    assert facts.name == "Qwen/Qwen2.5-7B-Instruct"
    assert any("taken as" in note for note in facts.notes)
    assert resolve_model("Qwen/Qwen2.5-7B-Instruct", env=env, hub=FakeHub()).notes == ()


@pytest.mark.parametrize("name", ["", "   ", "x\0y", "a" * 5000, "/", "..", "a/b/c/d"])
def test_odd_names_are_one_clear_error(name, env):
    with pytest.raises(ModelUnknown):
        resolve_model(name, offline=True, env=env)


def test_an_unknown_model_without_network_fails_soon(tmp_path, env):
    """A hub that accepts connections and never answers costs a second, not minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env["HF_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ModelUnknown, match="cannot be reached") as caught:
            resolve_model(NAME, env=env)
    assert "config.json" in caught.value.mend


def test_a_refused_connection_is_unreachable(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hub = HuggingFaceHub({"HF_ENDPOINT": f"http://127.0.0.1:{port}"}, tmp_path)
    with pytest.raises(ModelUnknown, match="cannot be reached"):
        hub.fetch(NAME)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"architectures": ["X"]}'])
def test_a_broken_config_is_invalid_input(tmp_path, env, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        resolve_model(str(tmp_path), env=env)


def test_the_index_of_a_checkpoint_is_believed(tmp_path):
    directory = write_model(tmp_path)
    counted = facts_from_directory("m", directory, source="test").weight_bytes
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": int(counted * 1.5)}}))
    facts = facts_from_directory("m", directory, source="test")
    assert facts.weight_bytes == int(counted * 1.5)
    assert facts.parts is not None
    assert facts.parts.total == pytest.approx(facts.weight_bytes, abs=8)
    assert any("states" in note for note in facts.notes)
    for odd in (0, -5, "many", None, counted * 50, True):
        index.write_text(json.dumps({"metadata": {"total_size": odd}}))
        assert facts_from_directory("m", directory, source="test").weight_bytes == counted


def test_a_bundled_config_can_be_written_and_read_back(tmp_path, env):
    for name in ("microsoft/phi-4", "meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-R1-0528"):
        facts = resolve_model(name, env=env, offline=True)
        directory = config_directory(facts, tmp_path)
        written = json.loads((directory / "config.json").read_text())
        assert not [key for key in written if key.startswith("_")]
        again = facts_from_directory(name, directory, source="test")
        assert (again.params, again.weight_bytes, again.attention) == (
            facts.params,
            facts.weight_bytes,
            facts.attention,
        )
        assert config_directory(again, tmp_path / "other") == directory


def test_every_bundled_model_resolves_offline(env):
    assert len(bundled_models()) > 100
    assert list(bundled_models()) == sorted(bundled_models(), key=str.lower)
    for name in bundled_models():
        if "MiniMax-M3-NVFP4" in name:  # a 6 MB config; the facts tests read it
            continue
        assert resolve_model(name, env=env, offline=True).name == name


def test_our_bundle_states_sources_and_stays_small():
    import armature.model

    path = Path(armature.model.__path__[0]) / "bundle" / "models.json"
    content = json.loads(path.read_text())
    assert path.stat().st_size < 200_000
    assert content["_as_of"]
    assert all(
        config["_source"].startswith("https://huggingface.co/") for config in content["models"].values()
    )
    assert set(content["aliases"].values()) <= set(content["models"])
    assert not set(content["aliases"]) & set(content["models"])
    assert bundled_config("no/such") is None


def test_resolving_a_bundled_model_loads_neither_the_estimator_nor_the_hub_client():
    code = (
        "import sys; from armature.model.resolve import resolve_model as r; r('Qwen/Qwen3-32B', offline=True);"
        "sys.exit(any(m in sys.modules for m in ('aiconfigurator_core', 'huggingface_hub', 'httpx')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
