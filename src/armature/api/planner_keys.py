"""The keys of `features.planner`, which the API passes through as one open mapping.

The planner of the field ignores keys it does not know, so a typo (`ttft_m`) silently loses a target. Here the
keys are known: snake_case as the planner writes them, camelCase, and camelCase with a `planner` prefix as the
API's own sample has it (`plannerMinEndpoint`). Names and types: dynamo 1.6.1 `planner_config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.base import camel
from armature.api.problems import closest, join
from armature.errors import Problem

__all__ = ["PLANNER_KEYS", "planner_enabled", "planner_problems", "planner_settings"]

_KINDS: dict[str, str] = {
    "choice": """environment=kubernetes|virtual|global-planner backend=vllm|sglang|trtllm|mocker
        mode=disagg|prefill|decode|agg optimization_target=throughput|latency|load|sla
        pre_deployment_sweeping_mode=none|rapid|thorough load_predictor=constant|arima|prophet|kalman
        throughput_metrics_source=frontend|router""",
    "bool": """enabled load_predictor_log1p metric_pulling_prometheus_ssl_verify enable_throughput_scaling
        enable_load_scaling advisory enable_power_awareness report_write_gzip_log""",
    "int": """max_throughput_scaling_replicas max_gpu_budget min_gpu_budget min_endpoint prefill_min_endpoint
        decode_min_endpoint control_api_port prefill_engine_num_gpu decode_engine_num_gpu prophet_window_size
        kalman_min_points metric_reporting_prometheus_port max_num_fpm_samples fpm_sample_bucket_size
        load_min_observations speculative_nextn live_dashboard_port""",
    "number": """throughput_adjustment_interval_seconds throughput_adjustment_interval ttft_ms ttft itl_ms itl
        kalman_q_level kalman_q_trend kalman_r load_adjustment_interval_seconds load_adjustment_interval
        load_scaling_down_sensitivity prefill_scale_up_queue_tokens prefill_scale_down_queue_tokens
        decode_scale_up_kv_rate decode_scale_down_kv_rate total_gpu_power_limit report_interval_hours
        metric_pulling_prometheus_request_timeout_seconds""",
    "str": """namespace log_dir profile_results_dir load_predictor_warmup_trace model_name
        global_planner_namespace metric_pulling_prometheus_endpoint metric_pulling_prometheus_token
        metric_pulling_prometheus_token_file metric_pulling_prometheus_ca_bundle report_output_dir
        report_filename""",
    "open": """aic_interpolation ais_perf_model scheduling plugin_registration
        metric_pulling_prometheus_extra_query_params""",
}
_TYPES = {name.split("=")[0]: kind for kind, names in _KINDS.items() for name in names.split()}
_CHOICES = {name.split("=")[0]: tuple(name.split("=")[1].split("|")) for name in _KINDS["choice"].split()}
PLANNER_KEYS: tuple[str, ...] = tuple(_TYPES)

_SPELLINGS = {
    spelling: name
    for name in PLANNER_KEYS
    for spelling in (camel("planner_" + name), camel(name), name)  # the last one wins a clash
}


def planner_enabled(planner: Mapping[str, Any] | None) -> bool:
    """Whether `features.planner` asks for a planner: present, and not `enabled: false`."""
    return planner is not None and planner.get("enabled") is not False


def planner_settings(planner: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under the planner's own names, without `enabled`; keys it does not know stay as they are."""
    named = {_SPELLINGS.get(key, key): value for key, value in planner.items() if value is not None}
    named.pop("enabled", None)
    return named


def planner_problems(planner: Mapping[str, Any], path: str) -> list[Problem]:
    """Unknown keys, keys given in two spellings, and values of the wrong type."""
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for key, value in planner.items():
        name = _SPELLINGS.get(key)
        where = join(path, key)
        if name is None:
            hint = closest(key, [spelling for spelling in _SPELLINGS if ("_" in key) or "_" not in spelling])
            mend = f"did you mean {hint}?" if hint else "see the planner's configuration for its keys"
            problems.append(Problem(where, "unknown planner setting", mend))
            continue
        if name in seen:
            problems.append(Problem(where, f"same setting as {seen[name]}", "keep one of them"))
        seen[name] = key
        problem = _value_problem(name, value, where)
        if problem:
            problems.append(problem)
    return problems


def _value_problem(name: str, value: Any, path: str) -> Problem | None:
    kind = _TYPES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if kind == "bool" and not isinstance(value, bool):
        return Problem(path, "must be true or false", "", value)
    if kind == "int" and not (number and isinstance(value, int)):
        return Problem(path, "must be a whole number", "", value)
    if kind == "number" and not (number and abs(value) != float("inf")):
        return Problem(path, "must be a finite number", "", value)
    if kind == "str" and not isinstance(value, str):
        return Problem(path, "must be a string", "put it in quotes", value)
    if kind == "choice" and value not in _CHOICES[name]:
        hint = closest(value, _CHOICES[name]) if isinstance(value, str) else None
        rule = f"must be one of {', '.join(_CHOICES[name])}"
        return Problem(path, rule, f"did you mean {hint}?" if hint else "", value)
    if name in ("ttft_ms", "ttft", "itl_ms", "itl") and value <= 0:
        return Problem(path, "must be greater than 0 ms", "", value)
    return None
