"""docs/workloads.md shows what is so: its requests are requests, its lines are read, its names are the known ones."""

from __future__ import annotations

import io
import re
from pathlib import Path

import yaml

from armature.api import check
from armature.workload.collect import WINDOW
from armature.workload.columns import ANSWER, ARRIVAL, MAX_TOKENS, PROMPT
from armature.workload.rows import MOST_SHOWN
from armature.workload.trace import trace_of

TEXT = (Path(__file__).parents[3] / "docs" / "workloads.md").read_text()
ONE_LINE = " ".join(TEXT.split())


def cells(first):
    """The cells of the table row that starts with `first`."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]]


def code(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_every_request_is_one():
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        part = yaml.safe_load(block)["spec"]
        document = {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeploymentRequest",
            "metadata": {"name": "docs"},
            "spec": {"model": "deepseek-ai/DeepSeek-R1", **part},
        }
        assert check(document)[1] == []


def test_every_first_line_is_read():
    for name in ("Mooncake", "JSON lines"):
        (line,) = code(cells(name)[0])
        assert trace_of(io.BytesIO(line.encode()), name).summary.requests == 1
    header = code(cells("CSV")[0])[0]
    row = "2023-11-16 18:17:03.9799600,4808,10"
    assert trace_of(io.BytesIO(f"{header}\n{row}\n".encode()), "csv").requests.isl.tolist() == [4808]


def test_the_names_are_those_that_are_known():
    assert [n for n in code(cells("arrival")[0]) if n not in ("arrival_ms", "time_us")] == list(ARRIVAL)
    assert code(cells("prompt tokens")[0]) == list(PROMPT)
    assert code(cells("answer tokens")[0]) == list(ANSWER)


def test_the_numbers_are_those_of_the_code():
    assert MOST_SHOWN == 20 and "the first twenty" in ONE_LINE
    assert f"{WINDOW:,} requests are all kept" in ONE_LINE
    assert f"more than {MAX_TOKENS:,} tokens" in ONE_LINE
