"""What `make run` shows: one request planned, explained, written as a graph, run, and asked a question.

Everything is real but the GPUs: mocker engines take the predicted time of every step. It needs no network, keeps
its state in a temporary directory, listens on a free port and leaves nothing behind.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armature.errors import StartFailed

if TYPE_CHECKING:
    import httpx

    from armature.search.profile import Profile

__all__ = ["Answer", "ask", "demo", "register"]

_REQUEST = Path(__file__).parents[3] / "examples" / "quickstart.yaml"
_QUESTION = "What does an inference server do between two tokens?"
_TOKENS = 48


def register(app: typer.Typer) -> None:
    """Add the command to the app, unlisted."""
    app.command("demo", hidden=True)(demo)


def demo(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="A request.")] = _REQUEST,
) -> None:
    """Plan a request, run its graph here, stream one chat completion from it, stop."""
    from armature.cli.files import read_request
    from armature.cli.output import console, output_width, stopped_in_order
    from armature.cli.plan import graph_yaml
    from armature.flow import plan_request
    from armature.local.up import UpOptions, running
    from armature.report import print_plan

    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    _heading(f"armature plan {shown}")
    request, notes = read_request(str(file))
    profile, graph = plan_request(request, offline=True)
    print_plan(profile, console(), width=output_width(None), notes=(*notes, *graph.notes))
    _heading("the DynamoGraphDeployment of the choice")
    print(graph_yaml(graph, "v1beta1").decode(), end="")
    _heading(f"armature up {shown}")
    with stopped_in_order(), tempfile.TemporaryDirectory(prefix="armature-demo-") as home:
        options = UpOptions(port=0, offline=True, home=Path(home))
        with running(
            graph.dgd, profile=profile, options=options, report=_report, extras=graph.extras
        ) as deployment:
            _heading(f"POST {deployment.url}/v1/chat/completions")
            print(f"user: {_QUESTION}\nassistant: ", end="", flush=True)
            answer = ask(deployment.url, deployment.models[0], _QUESTION, _TOKENS, show=_show)
            prefill_ms, decode_ms = _predicted(profile, answer)
            print(
                f"\n\n{answer.prompt_tokens} tokens in, {answer.tokens} out: the first after {answer.ttft_ms:.0f} ms"
                f" (predicted {prefill_ms:.0f}), then one every {answer.itl_ms:.1f} ms (predicted {decode_ms:.1f})"
            )
    print("Everything is stopped.")


def _predicted(profile: Profile, answer: Answer) -> tuple[float, float]:
    """(TTFT, ITL) in ms that the profile's step times give for this very prompt, alone on the server."""
    from armature.perf.steptable import TableTimes

    tables = profile.step_tables
    prefill, decode = tables.get("prefill") or tables["agg"], tables.get("decode") or tables["agg"]
    context = answer.prompt_tokens + answer.tokens / 2
    first_ms = prefill.host_ms + TableTimes(prefill).step_ms(answer.prompt_tokens, 0, 0)
    return first_ms, TableTimes(decode).step_ms(0, 1, context)


@dataclass(frozen=True, slots=True)
class Answer:
    """A streamed completion. ttft_ms: from sending to the first token; itl_ms: mean between tokens; 0 below two."""

    text: str
    prompt_tokens: int
    tokens: int
    ttft_ms: float
    itl_ms: float


def ask(
    url: str, model: str, question: str, max_tokens: int, *, show: Callable[[str], None] | None = None
) -> Answer:
    """Stream one chat completion over the OpenAI-compatible endpoint; `show` gets each piece of text as it comes.

    Raises StartFailed when the server refuses, breaks off or sends no text.
    """
    import httpx

    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    pieces: list[str] = []
    times: list[float] = []
    prompt_tokens = tokens = 0
    client = httpx.Client(timeout=30)
    sent = time.monotonic()
    try:
        with client, client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                raise StartFailed(f"The frontend answered {response.status_code}: {response.text[:300]}")
            for event in _events(response):
                if event.get("usage"):
                    prompt_tokens = int(event["usage"]["prompt_tokens"])
                    tokens = int(event["usage"]["completion_tokens"])
                text = "".join(
                    choice.get("delta", {}).get("content") or "" for choice in event.get("choices", ())
                )
                if text:
                    pieces.append(text)
                    times.append(time.monotonic())
                    if show is not None:
                        show(text)
    except httpx.HTTPError as error:
        raise StartFailed(f"The frontend broke off: {error}.") from None
    if not times:
        raise StartFailed("The frontend sent no text.")
    gap_ms = 1000 * (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    ttft_ms = 1000 * (times[0] - sent)
    return Answer("".join(pieces), prompt_tokens, tokens or len(pieces), ttft_ms, gap_ms)


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event. The response is read to its end, past `[DONE]`, which closes it here."""
    for line in response.iter_lines():
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                continue
            event = json.loads(data)
            if "error" in event:
                raise StartFailed(f"The frontend said: {event['error']}")
            yield event


def _heading(text: str) -> None:
    print(f"\n$ {text}\n" if text.startswith("armature") else f"\n# {text}\n", flush=True)


def _report(line: str) -> None:
    print(line, flush=True)


def _show(text: str) -> None:
    print(text, end="", flush=True)


if __name__ == "__main__":
    from armature.cli.main import main

    sys.exit(main(["demo", *sys.argv[1:]]))
