"""`report.html` for `plan`: the graphs of all candidates as YAML for the page, and the browser to show it in."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from armature.cli.options import ApiVersion
from armature.cli.output import write_files
from armature.errors import ArmatureError, OutputFailed

if TYPE_CHECKING:
    from armature.graph.build import Graph
    from armature.search.profile import Profile

__all__ = ["PAGE", "open_page", "report_page"]

PAGE = "report.html"


def report_page(profile: Profile, graph: Graph, api_version: ApiVersion) -> bytes:
    """The page of a plan, from its profile alone. graph: the one that is written beside it, shown first."""
    from armature.api import to_yaml_documents
    from armature.flow import request_of
    from armature.graph.build import build, to_documents
    from armature.graph.preflight import require
    from armature.report.html import report_html

    request = request_of(profile)
    graphs: dict[str, str] = {}
    refused: dict[str, str] = {}
    for candidate in profile.candidates:
        try:
            own = candidate.id == graph.candidate_id
            made = graph if own else build(profile, request, candidate_id=candidate.id)
            require(made, profile)
            graphs[candidate.id] = to_yaml_documents(to_documents(made, f"nvidia.com/{api_version}"))
        except ArmatureError as error:
            refused[candidate.id] = " ".join(str(error).split())
    page = report_html(profile, graphs, refused=refused, chosen=graph.candidate_id, notes=graph.notes)
    return page.encode("utf-8", "replace")


def open_page(profile: Profile, graph: Graph, api_version: ApiVersion, directory: Path | None) -> str:
    """Show the page in the user's browser; returns what to tell the user.

    directory: where it was written already. None: it goes to a temporary directory, and stays there, for the browser
    reads it when it likes. On Linux without a display only a browser that $BROWSER names is started: the text browsers
    that are left run no scripts and would take the terminal. Raises OutputFailed.
    """
    if directory is None:
        try:
            directory = Path(tempfile.mkdtemp(prefix="armature-"))
        except OSError as error:
            raise OutputFailed(
                f"Cannot make a temporary directory: {error.strerror}.", "Use -o DIR."
            ) from None
        write_files(directory, {PAGE: report_page(profile, graph, api_version)})
    path = directory / PAGE
    graphical = not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    )
    try:
        shown = graphical and webbrowser.open(path.resolve().as_uri())
    except webbrowser.Error:
        shown = False
    return f"opened {path}" if shown else f"No browser was found here; open this page in one: {path}"
