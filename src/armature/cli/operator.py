"""`armature operator`: looks after the DynamoGraphDeploymentRequests of a cluster until it is stopped."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("operator")(operator)


def operator(
    image: Annotated[
        str,
        typer.Option(
            metavar="IMAGE", envvar="ARMATURE_IMAGE", help="This operator's own image; Jobs run it."
        ),
    ],
    profiling: Annotated[
        Literal["job", "inline"], typer.Option(help="Profile in a Job, or in the operator's own processes.")
    ] = "job",
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Look after this namespace alone.")
    ] = None,
    lease_namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Elect a leader by a Lease here; without it, be the only replica."),
    ] = None,
    kubeconfig: Annotated[
        str, typer.Option(metavar="FILE", help="Default: $KUBECONFIG, the pod's own, ~/.kube/config.")
    ] = "",
    discover: Annotated[
        bool, typer.Option("--discover/--no-discover", help="Look up GPUs where a request leaves them open.")
    ] = True,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address of health and metrics.")] = "127.0.0.1",
    health_port: Annotated[int, typer.Option(min=0, max=65535)] = 8081,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
) -> None:
    """Look after the requests of a cluster."""
    import asyncio
    import logging

    from armature.kube.connect import connect
    from armature.operator.runtime.manager import Address
    from armature.operator.settings import Settings
    from armature.operator.start import run_operator

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpx2", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = Settings(image=image, profiling=profiling, namespace=namespace, discover=discover)

    async def main() -> None:
        await run_operator(
            connect(kubeconfig),
            settings,
            lease_namespace=lease_namespace,
            health=Address(health_port, "--health-port", host),
            metrics=Address(metrics_port, "--metrics-port", host),
        )

    asyncio.run(main())
