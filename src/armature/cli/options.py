"""The options that `plan`, `compare` and `generate` share: what a request holds, on the command line.

Second names are AIConfigurator's words for the same (AIC-02, PAR-06); `--system` and `--total-gpus` are accepted
without being shown in help, because `--hardware` says both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "FOREIGN",
    "Acceptance",
    "ApiVersion",
    "Backend",
    "BackendName",
    "Chooser",
    "Concurrency",
    "E2e",
    "Estimator",
    "EstimatorKind",
    "Goal",
    "Hardware",
    "Isl",
    "Itl",
    "Json",
    "Model",
    "Nextn",
    "Objective",
    "Offline",
    "Optimize",
    "OptionalFile",
    "Osl",
    "Output",
    "Price",
    "Quiet",
    "RequestRate",
    "SameEstimator",
    "System",
    "TotalGpus",
    "Trace",
    "Ttft",
    "Version",
    "Width",
]

FOREIGN = {
    "--backend-version": "the runtime image has it: spec.runtimeVersionOverride or spec.image in the request",
    "--database-mode": "write --estimator silicon",
    "--deployment-target": "leave it out: what is written is a DynamoGraphDeployment",
    "--generator-set": "write it in the request's spec.overrides.dgd",
    "--serving-mode": "leave it out of plan, which tries both; generate has --disagg",
    "--yaml-path": "name the files of compare without an option",
}
"""What AIConfigurator's other options (AIC-02, AIC-03) are here."""

EstimatorKind = Literal["auto", "silicon", "roofline"]
ApiVersion = Literal["v1beta1", "v1alpha1"]
BackendName = Literal["auto", "vllm", "sglang", "trtllm"]
Goal = Literal["latency", "throughput"]
Chooser = Literal["armature", "aic"]

HARDWARE_HELP = (
    "GPUs to plan for: h200_sxm, 8xh200_sxm, 2x8xh200_sxm. Default: the file's, else this machine's."
)
MODEL_HELP = "A model's name, or a directory with config.json."

OptionalFile = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="A DynamoGraphDeploymentRequest; `-` reads stdin. None: --model and the options are the request.",
    ),
]
Model = Annotated[str | None, typer.Option("--model", "--model-path", metavar="NAME", help=MODEL_HELP)]
Hardware = Annotated[str | None, typer.Option("--hardware", metavar="GPUS", help=HARDWARE_HELP)]
System = Annotated[str | None, typer.Option("--system", metavar="SKU", hidden=True)]
TotalGpus = Annotated[int | None, typer.Option("--total-gpus", metavar="N", hidden=True)]
Backend = Annotated[BackendName | None, typer.Option("--backend", help="Engine; default auto.")]
Isl = Annotated[
    int | None, typer.Option("--isl", metavar="N", help="Input tokens of a request; default 4000.")
]
Osl = Annotated[int | None, typer.Option("--osl", metavar="N", help="Output tokens; default 1000.")]
RequestRate = Annotated[
    float | None, typer.Option("--request-rate", metavar="X", help="Load: requests per second.")
]
Concurrency = Annotated[
    float | None, typer.Option("--concurrency", metavar="X", help="Load: requests in flight.")
]
Trace = Annotated[
    str | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Load: recorded requests (JSON lines or CSV) in place of --isl, --osl and a rate.",
    ),
]
Nextn = Annotated[
    int | None,
    typer.Option("--nextn", metavar="N", help="Draft N tokens per step with the model's MTP layers."),
]
Acceptance = Annotated[
    float | None,
    typer.Option("--acceptance", metavar="X", help="Share of drafted tokens that hold, as 0.8."),
]
Ttft = Annotated[
    float | None, typer.Option("--ttft", metavar="MS", help="Target: time to the first token, in ms.")
]
Itl = Annotated[
    float | None, typer.Option("--itl", "--tpot", metavar="MS", help="Target: time between tokens, in ms.")
]
E2e = Annotated[
    float | None,
    typer.Option("--e2e", "--request-latency", metavar="MS", help="Target: a whole request, in ms."),
]
Optimize = Annotated[
    Goal | None, typer.Option("--optimize", help="What to seek within the targets; default throughput.")
]
Estimator = Annotated[
    EstimatorKind, typer.Option("--estimator", help="Where step times come from.", show_default=True)
]
SameEstimator = Annotated[
    EstimatorKind | None,
    typer.Option("--estimator", help="Where step times come from; default as in the plan."),
]
Objective = Annotated[
    Chooser,
    typer.Option("--objective", help="Whose rules choose: `aic` for AIConfigurator 0.12's, to compare with."),
]
Price = Annotated[
    list[str] | None,
    typer.Option(
        "--price", metavar="SKU=X", help="Price of one GPU-hour; repeatable. Else $ARMATURE_PRICES."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        "--save-dir",
        metavar="DIR",
        help="Write dgd.yaml, profile.json, report.html, candidates.csv, pareto.csv, extras.yaml there.",
    ),
]
Version = Annotated[ApiVersion, typer.Option("--api-version", help="API version of the graph.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the model hub.")]
Width = Annotated[int | None, typer.Option("--width", min=40, max=400, help="Columns to use.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print no more than was asked for.")]
