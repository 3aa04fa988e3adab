"""The step-time cache: the same answer to the last bit, or none; and never an error."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.model.facts import facts_from_config
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.silicon import NoSiliconData, SiliconEstimator, StepCache, library, user_cache
from armature.perf.silicon import estimator as estimator_module
from armature.perf.silicon import step_cache as step_cache_module
from armature.perf.silicon.disk import Disk, default_folder

pytest.importorskip("aiconfigurator_core")

MODEL = "Qwen/Qwen3-8B"


class Memory(dict):
    """A store without a disk."""

    def read(self, name):
        return self.get(name)

    def write(self, name, data):
        self[name] = data


@pytest.fixture
def spec(facts):
    return EngineSpec(facts(MODEL), GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")


@pytest.fixture(scope="module")
def fresh(facts):
    """An answer of the library, measured once for all tests here."""
    return SiliconEstimator().engine(
        EngineSpec(facts(MODEL), GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")
    )


@pytest.fixture
def no_library(monkeypatch):
    """Asking the library fails the test."""

    def asked(spec):
        raise AssertionError("asked the library")

    monkeypatch.setattr(estimator_module, "measured", asked)


def same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), field.name
        elif field.name != "_tables":
            assert a == b, field.name


def test_a_cached_answer_is_the_fresh_one_to_the_last_bit(spec, fresh, no_library):
    cache = StepCache(Memory(), {})
    cache.put(spec, fresh)
    found = SiliconEstimator(cache).engine(spec)
    same(fresh, found)
    grid = np.geomspace(1, 1e5, 50)
    assert (found.decode_ms(grid, grid[:, None]) == fresh.decode_ms(grid, grid[:, None])).all()
    assert (found.mixed_ms(grid, 8, 4096) == fresh.mixed_ms(grid, 8, 4096)).all()
    assert found.prefill.flags.writeable == fresh.prefill.flags.writeable


def test_a_second_run_does_not_import_the_library(tmp_path, spec, fresh):
    StepCache(Disk(tmp_path), {}).put(spec, fresh)
    code = f"""
import sys
from pathlib import Path
from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.estimate import EngineSpec
from armature.perf.silicon import SiliconEstimator, StepCache
from armature.perf.silicon.disk import Disk
facts = resolve_model({MODEL!r}, offline=True, env={{}})
spec = EngineSpec(facts, GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")
times = SiliconEstimator(StepCache(Disk(Path({str(tmp_path)!r})), {{}})).engine(spec)
print(repr(float(times.decode_ms(8, 4096))), "aiconfigurator_core" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [repr(float(fresh.decode_ms(8, 4096))), "False"]


def test_a_refusal_is_kept_with_its_cause(spec, no_library):
    cache = StepCache(Memory(), {})
    cache.put(spec, NoSiliconData("no context MLA data", "use another backend"))
    for _ in range(2):
        with pytest.raises(NoSiliconData) as refused:
            SiliconEstimator(cache).engine(spec)
        assert (refused.value.message, refused.value.mend) == ("no context MLA data", "use another backend")


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (ValueError("n_kv=5 is not measured"), True),
        (OSError(24, "Too many open files"), False),
        (MemoryError(), False),
        (RuntimeError("perf database error: Too many open files (os error 24)"), False),
    ],
)
def test_only_a_refusal_that_lasts_is_kept(spec, monkeypatch, error, lasting):
    def refuses(*_args, **_modes):
        raise library._refusal(error)

    monkeypatch.setattr(library, "compile_handle", refuses)
    store = Memory()
    with pytest.raises(NoSiliconData):
        SiliconEstimator(StepCache(store, {})).engine(spec)
    assert bool(store) is lasting


def test_nothing_is_kept_of_what_has_no_tables(spec):
    store = Memory()
    for sku in ("t4", "h100_pcie"):
        with pytest.raises(NoSiliconData):
            SiliconEstimator(StepCache(store, {})).engine(replace(spec, gpu=GPUS[sku]))
    assert store == {}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_entry_is_as_good_as_none(data, facts, fresh):
    spec = EngineSpec(facts(MODEL), GPUS["h200_sxm"], "vllm", Parallelism(tp=2), "bf16")
    store = Memory()
    cache = StepCache(store, {})
    cache.put(spec, fresh)
    (name, whole), *_ = store.items()
    kind = data.draw(st.sampled_from(["truncated", "flipped", "garbage", "longer", "empty"]))
    if kind == "truncated":
        store[name] = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flipped":
        at = data.draw(st.integers(0, len(whole) - 1))
        store[name] = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    elif kind == "garbage":
        store[name] = data.draw(st.binary(max_size=200))
    elif kind == "longer":
        store[name] = whole + data.draw(st.binary(min_size=1, max_size=20))
    else:
        store[name] = b""
    assert cache.get(spec) is None


def test_a_damaged_entry_is_made_anew(spec, fresh, monkeypatch):
    monkeypatch.setattr(estimator_module, "measured", lambda *_: fresh)
    store = Memory()
    cache = StepCache(store, {})
    cache.put(spec, fresh)
    (name, whole), *_ = store.items()
    store[name] = whole[:100]
    SiliconEstimator(cache).engine(spec)
    assert store[name] == whole


def test_an_entry_under_anothers_name_is_none(spec, fresh):
    store = Memory()
    cache = StepCache(store, {})
    cache.put(spec, fresh)
    ((_, whole),) = store.items()
    other = replace(spec, parallelism=Parallelism(tp=4))
    store[cache._name(other)] = whole
    assert cache.get(other) is None


def test_an_entry_with_other_nodes_is_none(spec, fresh, monkeypatch):
    store = Memory()
    cache = StepCache(store, {})
    cache.put(spec, fresh)
    monkeypatch.setattr(step_cache_module, "CONTEXTS", step_cache_module.CONTEXTS[:-1])
    assert cache.get(spec) is None


@pytest.mark.parametrize("what", ["library", "code", "settings"])
def test_another_version_finds_nothing_and_makes_its_own(spec, fresh, monkeypatch, what):
    monkeypatch.setattr(estimator_module, "measured", lambda *_: fresh)
    store = Memory()
    StepCache(store, {}).put(spec, fresh)
    assert StepCache(store, {"HOME": "/elsewhere"}).get(spec) is not None
    env = {}
    if what == "library":
        monkeypatch.setattr(library, "version", lambda: "0.12.1")
    elif what == "code":
        monkeypatch.setattr(step_cache_module, "_code", lambda: "other sources")
    else:
        env = {"AICONFIGURATOR_SYSTEMS_PATH": "/other/tables"}
    later = StepCache(store, env)
    assert later.get(spec) is None
    SiliconEstimator(later).engine(spec)
    assert later.get(spec) is not None and len(store) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "sglang"},
        {"parallelism": Parallelism(tp=4)},
        {"kv_dtype": "fp8"},
        {"gpu": GPUS["h100_sxm"]},
        {"gpu": GPUS["h200_sxm"].with_vram(2**37)},
    ],
    ids=str,
)
def test_another_engine_finds_nothing(spec, fresh, change):
    cache = StepCache(Memory(), {})
    cache.put(spec, fresh)
    assert cache.get(replace(spec, **change)) is None


def test_another_config_of_the_same_name_finds_nothing_and_another_place_of_the_same_does(
    spec, fresh, tmp_path
):
    """The facts may agree where the library reads more of the file than we do."""
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "model_type": "llama",
        "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 2, "num_key_value_heads": 8,
        "torch_dtype": "bfloat16", "vocab_size": 128256,
    }  # fmt: skip
    specs = []
    for place, extra in (("one", {}), ("two", {}), ("three", {"rope_theta": 5e5})):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text(json.dumps({**config, **extra}))
        facts = facts_from_config("acme/llama", config, None, source=place, config_dir=tmp_path / place)
        specs.append(replace(spec, facts=facts))
    cache = StepCache(Memory(), {})
    cache.put(specs[0], fresh)
    assert [cache.get(each) is not None for each in specs] == [True, True, False]


def test_two_processes_may_write_the_same_entry(tmp_path, spec, fresh):
    """A reader beside two writers sees a whole entry or none, and nothing is left behind."""
    store = Memory()
    StepCache(store, {}).put(spec, fresh)
    ((name, whole),) = store.items()
    folder = tmp_path / "steps"
    code = f"""
import sys
from pathlib import Path
from armature.perf.silicon.disk import Disk
disk, whole = Disk(Path({str(folder)!r})), sys.stdin.buffer.read()
for _ in range(300):
    disk.write({name!r}, whole)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        writer.stdin.write(whole)
        writer.stdin.close()
    cache, found = StepCache(Disk(folder), {}), []
    while any(writer.poll() is None for writer in writers):
        found.append(cache.get(spec) is not None)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert found == sorted(found), "once there, it was gone or damaged"
    same(cache.get(spec), fresh)
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_no_cache():
    """Where even root may not: a read-only directory, to everybody else."""
    store = Disk(Path("/proc/armature/steps"))
    store.write("entry", b"data")
    assert store.read("entry") is None


def test_a_place_that_is_no_directory_is_no_cache_and_one_line_says_so(tmp_path, spec, fresh, caplog):
    (tmp_path / "steps").write_text("a file")
    cache = StepCache(Disk(tmp_path / "steps"), {})
    with caplog.at_level(logging.DEBUG, logger="armature"):
        for _ in range(3):
            cache.put(spec, fresh)
            assert cache.get(spec) is None
    assert len([r for r in caplog.records if "no cache" in r.message]) == 1


def test_a_full_disk_is_no_cache_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        Path(self).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    store = Disk(tmp_path)
    store.write("entry", b"data")
    assert list(tmp_path.iterdir()) == []
    assert store.read("entry") is None


def test_the_oldest_entries_go_when_the_limit_is_reached(tmp_path):
    old = Disk(tmp_path)
    for n in range(10):
        old.write(f"entry{n}", b"x" * 100)
        os.utime(tmp_path / f"entry{n}", (1000 + n, 1000 + n))
    Disk(tmp_path, limit_bytes=600).write("newest", b"x" * 100)
    assert {path.name for path in tmp_path.iterdir()} == {"newest", "entry9", "entry8", "entry7"}


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    for name, age in ((".entry.dead", 7200), (".entry.live", 5)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    Disk(tmp_path).write("entry", b"data")
    assert {path.name for path in tmp_path.iterdir()} == {"entry", ".entry.live"}


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"ARMATURE_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/armature"),
        ({"HOME": "/h"}, "/h/.cache/armature"),
        ({"ARMATURE_CACHE": "", "XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/armature"),
    ],
)
def test_where_the_cache_is(env, folder):
    assert default_folder(env) == Path(folder)


def test_the_user_may_have_none():
    assert user_cache({"ARMATURE_CACHE": "off", "HOME": "/h"}) is None


def test_the_users_cache_is_made_when_it_is_first_written_to(tmp_path, spec, fresh):
    cache = user_cache({"ARMATURE_CACHE": str(tmp_path / "deep" / "cache")})
    assert cache.get(spec) is None
    assert not (tmp_path / "deep").exists()
    cache.put(spec, fresh)
    assert len(list((tmp_path / "deep" / "cache" / "steps").iterdir())) == 1
