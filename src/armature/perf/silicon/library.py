"""The estimator library, aiconfigurator-core, behind one narrow door: the only module that imports it.

It is imported on first use (0.1 s; neither numpy nor pandas come with it) and never reaches the network: it is
given either a name of its own bundle or a directory that holds `config.json`, never a name it would look up.

What the library's answers mean, read from its sources and held by tests:

- times are milliseconds of one whole forward pass, all `pp` stages in turn;
- batches are per attention-DP rank (the library multiplies by `attention_dp_size` itself);
- `prefill(n, prior)` is `n` new tokens after `prior` cached ones; `decode(b, c)` is one token for each of `b`
  requests with `c` tokens in the cache.

The library's own mixed step is not used: for MLA models it leaves out the decoding requests' caches.

Its facade, `EngineHandle.compile`, opens the database of the system anew for each engine: half a second for the
first, 10 ms for each other, nearly all of it YAML and one table of kernels. `compile_handle` takes the same steps in
the same order (`build_model_config`, `get_model`, `build_engine_spec_json`, `EngineHandle`) with a database that is
opened once, and answers are those of the facade to the last bit (a test holds it). Four things here are not the
library's public face:

- `systems/query_versions.yaml`, which says what version is `current`: its own look-up reads every system's files;
- `_attention_lane_density_cache` of a database: which attention kernels its tables hold, in `lanes.json` for the
  version we were tested with; the library reads both tables twice to find out, 0.5 s;
- `engine._PROBE_CACHE_GENERATION`, which that cache is stamped with;
- `moe_comm_backend` of a model's configuration, which its own search sets (`perf.silicon.exchange`).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from armature.perf.estimate import EngineSpec
from armature.perf.silicon.exchange import COLLECTIVES, Exchange
from armature.perf.silicon.model_files import NoSiliconData, model_path

__all__ = [
    "ESTIMATED_SYSTEMS",
    "SYSTEMS",
    "Handle",
    "NoSiliconData",
    "compile_handle",
    "installed",
    "version",
]

# Our SKU -> the library's system, for GPUs with measured tables (its h100_pcie, a100_pcie, a30 and l4 have none).
SYSTEMS = {
    "a100_sxm": "a100_sxm",
    "b200_sxm": "b200_sxm",
    "b300_sxm": "b300_sxm",
    "gb200": "gb200",
    "gb200_sxm": "gb200",
    "gb300": "gb300",
    "gb300_sxm": "gb300",
    "h100_sxm": "h100_sxm",
    "h200_sxm": "h200_sxm",
    "l40s": "l40s",
    "rtx_pro_6000": "rtx_pro_6000_server",
    "rtx_pro_6000_server": "rtx_pro_6000_server",
}
# Measured on old engines (a100_sxm) or held back by PCIe tables (l40s), and no real deployment to check against.
ESTIMATED_SYSTEMS = frozenset({"a100_sxm", "l40s", "rtx_pro_6000_server"})

_PACKAGE = "aiconfigurator_core"
_OPEN = 4


class Handle:
    """One engine compiled by the library. Raises NoSiliconData where its tables end.

    least_tokens: a prefill step of fewer costs as much; the library has DeepEP send a TP rank's share of the tokens,
    rounded down, and knows no answer for none."""

    def __init__(self, engine: Any, least_tokens: int = 1) -> None:
        self._engine, self._least_tokens = engine, least_tokens

    def prefill_ms(self, tokens: float, prior: float = 0) -> float:
        tokens = max(tokens, self._least_tokens)
        try:
            return float(self._engine.predict_prefill_latency(1, int(tokens + prior), int(prior)))
        except Exception as error:  # a foreign library: whatever it raises means that it has no answer
            raise _refusal(error) from error

    def decode_ms(self, batch: float, context: float) -> float:
        try:
            return float(self._engine.decode_step_latency(int(batch), int(context), 2))
        except Exception as error:  # as above
            raise _refusal(error) from error

    def static_ms(self, batch: int, isl: int, osl: int, mode: str) -> float:
        """A whole phase of a static batch: `static_ctx` its prompts, `static_gen` the `osl - 1` decode steps, sampled
        every 32 as the library's own search does."""
        try:
            prefill, decode, _ = self._engine.run_static(batch_size=batch, isl=isl, osl=osl, mode=mode)
        except Exception as error:  # as above
            raise _refusal(error) from error
        return float(prefill if mode == "static_ctx" else decode)

    def mixed_step_ms(self, context_tokens: int, decoding: int, isl: int, osl: int) -> float:
        """The library's own mixed step; see the module on what it leaves out."""
        try:
            return float(self._engine.mixed_step_latency(context_tokens, decoding, isl, osl))
        except Exception as error:  # as above
            raise _refusal(error) from error

    def decode_step_ms(self, batch: int, isl: int, osl: int) -> float:
        """A decode step half way through the answers."""
        try:
            return float(self._engine.decode_step_latency(batch, isl, osl))
        except Exception as error:  # as above
            raise _refusal(error) from error


def installed() -> bool:
    return importlib.util.find_spec(_PACKAGE) is not None


def version() -> str | None:
    """The library's version, without importing it; None where it is not installed."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    beside = Path(package.origin).parent.parent
    found = [path.name for path in beside.glob(f"{_PACKAGE}-*.dist-info")]
    if len(found) == 1:  # importlib.metadata says the same, and takes 20 ms to import
        return found[0].removeprefix(f"{_PACKAGE}-").removesuffix(".dist-info")
    from importlib import metadata

    try:
        return metadata.version(_PACKAGE.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return None


def require(sku: str) -> str:
    """The library's name of a GPU. Raises NoSiliconData where it is not installed or has no tables of it."""
    if not installed():
        raise NoSiliconData("aiconfigurator-core is not installed", lasting=False)
    if sku not in SYSTEMS:
        raise NoSiliconData(f"there are no measured tables for {sku}")
    return SYSTEMS[sku]


def compile_handle(
    spec: EngineSpec, exchange: Exchange = COLLECTIVES, **modes: str
) -> tuple[Handle, tuple[str, ...]]:
    """The library's engine for `spec` and notes on what was changed to get it.

    modes: the library's overrides (`kvcache_quant_mode`, `fmha_quant_mode`, `gemm_quant_mode`, `moe_quant_mode`), to
    which `exchange` adds its own. Raises NoSiliconData when the library is missing or refuses; tables that are missing
    it may notice only when it is asked for a time.
    """
    system = require(spec.gpu.sku)
    model, notes = model_path(spec.facts, *_bundle())
    try:
        engine, wire = _engine(system, spec, model, exchange, {**modes, **exchange.modes})
    except Exception as error:  # a foreign library: whatever it raises means that it has no answer
        raise _refusal(error) from error
    _keep_open(system, spec.backend, engine, wire)
    return Handle(engine, spec.parallelism.tp if exchange.context else 1), notes


def _engine(
    system: str, spec: EngineSpec, model: str, exchange: Exchange, modes: Mapping[str, Any]
) -> tuple[Any, str]:
    """The engine and its specification as the library writes it down (JSON)."""
    from aiconfigurator_core import engine_spec_bincode_from_json
    from aiconfigurator_core.sdk.config_builders import build_model_config
    from aiconfigurator_core.sdk.engine import EngineHandle, build_engine_spec_json
    from aiconfigurator_core.sdk.models import get_model

    database = _database(system, spec.backend)
    parallelism = spec.parallelism
    config = build_model_config(
        tp_size=parallelism.tp,
        pp_size=parallelism.pp,
        attention_dp_size=parallelism.dp,
        moe_tp_size=parallelism.moe_tp,
        moe_ep_size=parallelism.moe_ep,
        **modes,
    )
    if exchange.context:  # fields that the library's own search sets, and its facade does not offer
        config.moe_comm_backend = {"context": exchange.context, "generation": exchange.generation}
        config.num_gpus_per_node, config.system = spec.gpu.gpus_per_node, system
    wire = build_engine_spec_json(
        get_model(model, config, spec.backend),
        model_path=model,
        system=system,
        backend=spec.backend,
        backend_version=database.version,
        kv_block_size=None,
        systems_path=None,
        nextn=0,
        database=database,
    )
    return EngineHandle(bytes(engine_spec_bincode_from_json(wire))), wire


@cache
def _database(system: str, backend: str) -> Any:
    """The library's view of one system and backend, at the version it calls current."""
    from aiconfigurator_core.sdk import engine
    from aiconfigurator_core.sdk.perf_database import PerfDatabase, get_systems_paths

    root = get_systems_paths()[0]
    current = _current_version(Path(root), system, backend)
    database = PerfDatabase(system, backend, current, root)
    known = _known_lanes().get(f"{system}/{backend}/{current}")
    if known is not None:
        densities = {
            (table, view == "shared"): {lane: tuple(counts) for lane, counts in lanes.items()}
            for view, tables in known.items()
            for table, lanes in tables.items()
        }
        # The library's own memo, as its `fetch_attention_lane_density` writes it.
        vars(database)["_attention_lane_density_cache"] = (engine._PROBE_CACHE_GENERATION, densities)
    return database


def _current_version(root: Path, system: str, backend: str) -> str:
    """What `perf_database.get_version_slots(system, backend)["current"]` says."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    slots = yaml.load((root / "query_versions.yaml").read_text(encoding="utf-8"), Loader=loader)
    own = (slots.get("overrides") or {}).get(system, {}).get(backend)
    return str((own or slots["defaults"][backend])["current"])


@cache
def _known_lanes() -> Mapping[str, Any]:
    """`lanes.json` by system, backend and version; empty for a version of the library that it was not made from."""
    text = resources.files("armature.perf.silicon").joinpath("lanes.json").read_text(encoding="utf-8")
    made = json.loads(text)
    lanes: Mapping[str, Any] = made["lanes"] if made["library"] == version() else {}
    return lanes


def _keep_open(system: str, backend: str, engine: Any, wire: str) -> None:
    """Keep the engine when it is the first of its system and backend, and load the tables of both its phases.

    The library drops a system's tables with the last engine that reads them, and takes up to a second to load them
    again: one engine each of the last few systems stays. It reads a table when an operation of its kind is first
    asked, without Python's lock, so two threads share the work.
    """
    key = (system, backend)
    with _lock:
        if key in _open:
            _open.move_to_end(key)
            return
        _open[key] = engine
        if len(_open) > _OPEN:
            _open.popitem(last=False)
    from concurrent.futures import ThreadPoolExecutor

    spec = json.loads(wire)
    asks: dict[str, Callable[[], object]] = {}
    for phase, evaluate in (
        ("context_ops", engine.evaluate_context_ops),
        ("generation_ops", engine.evaluate_generation_ops),
    ):
        for index, operation in enumerate(spec[phase]):
            (kind,) = operation
            asks.setdefault(kind, partial(evaluate, [index], batch_size=1, s=64))

    def ask(question: Callable[[], object]) -> None:
        with suppress(Exception):  # whoever needs the answer will ask again and be told
            question()

    with ThreadPoolExecutor(2) as both:
        list(both.map(ask, asks.values()))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's log lines (fallback rows and the like) out of the user's log while inside."""
    global _depth
    logger = logging.getLogger(_PACKAGE)
    with _lock:
        if _depth == 0:
            _saved.append(logger.propagate)
            logger.propagate = False
            logger.addHandler(_null)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                logger.propagate = _saved.pop()
                logger.removeHandler(_null)


_lock = threading.Lock()
_open: OrderedDict[tuple[str, str], Any] = OrderedDict()
_depth = 0
_saved: list[bool] = []
_null = logging.NullHandler()


@cache
def _bundle() -> tuple[frozenset[str], Path]:
    """Names that the library resolves from its own files, and where these lie."""
    from aiconfigurator_core.sdk.common import DefaultHFModels

    package = importlib.util.find_spec(_PACKAGE)
    assert package is not None
    assert package.origin is not None
    return frozenset(DefaultHFModels), Path(package.origin).parent / "model_configs"


def _refusal(error: Exception) -> NoSiliconData:
    """The library's reason in one short line, without paths of this machine."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"the library does not know {text}"
    text = text.split(" at /")[0].removeprefix("perf database error: ")
    lasting = not isinstance(error, OSError | MemoryError) and "os error" not in text.lower()
    return NoSiliconData(text if len(text) <= 160 else f"{text[:157]}...", lasting=lasting)
