"""`python -m armature_testbed.process_node`: the agent of one process node, inside a testbed's network namespace."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from armature.errors import StartFailed
from armature.kube.connect import connect
from armature.kube.events import Recorder
from armature.serving.process import announce_ready, on_stop_signals, run_process, start_logging
from armature_testbed.certificates import Authority, KeyPair
from armature_testbed.layout import Layout
from armature_testbed.process_node import network
from armature_testbed.process_node.addresses import AddressPool, node_address, pod_block
from armature_testbed.process_node.agent import Agent
from armature_testbed.process_node.context import NodeContext
from armature_testbed.process_node.folders import NodeFolders
from armature_testbed.process_node.image import this_machine
from armature_testbed.process_node.images import OWN_IMAGES, image_rule
from armature_testbed.process_node.isolation import private_memory_folder
from armature_testbed.process_node.kubelet_server import KubeletServer, kubelet_app
from armature_testbed.process_node.lifecycle import Policy
from armature_testbed.process_node.node_object import KUBELET_PORT, NodeSpec
from armature_testbed.process_node.steward import be_steward

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the agent until SIGTERM, SIGINT or the end of its Node; the exit code."""
    arguments = _parser().parse_args(argv)
    start_logging(arguments.log_level)
    logging.getLogger("httpx2").setLevel("WARNING")
    if sys.version_info < (3, 12):  # what later versions do: no thread for each process
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    return run_process(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    if sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(asyncio.get_running_loop())
    layout = Layout(arguments.testbed.resolve())
    folders = NodeFolders(layout.directory)
    folders.make()
    run = folders.run(arguments.name)
    private_memory_folder(run)
    number = folders.take_number()
    node = NodeSpec(
        arguments.name,
        node_address(number),
        cpu=arguments.cpu,
        memory=arguments.memory,
        pods=arguments.pods,
        gpus=arguments.gpus,
        labels=dict(label.split("=", 1) for label in arguments.label),
    )
    try:
        await network.prepare_node(node.address)
    except network.NetworkError as error:
        raise StartFailed(f"Process node {node.name}: {error}.") from None
    client = connect(str(layout.kubeconfig))
    context = NodeContext(
        client=client,
        node=node,
        recorder=Recorder(client, component="kubelet", instance=node.name, now=_now),
        image=this_machine(folders.discovery),
        rules=[*map(image_rule, arguments.image), OWN_IMAGES],
        policy=Policy(arguments.backoff_seconds, arguments.backoff_cap_seconds),
        addresses=AddressPool(pod_block(number)),
        run=run,
        claims=folders.volumes,
        now_s=time.time,
        names=dict,
        services=list,
        refresh_s=arguments.refresh_seconds,
    )
    agent = Agent(context, stop_grace_s=arguments.stop_grace_seconds)
    on_stop_signals(agent.stopping.set)
    server = _kubelet(layout, run, node, agent)
    ready = asyncio.Event()
    serving = asyncio.create_task(server.serve())
    steward = asyncio.create_task(be_steward(client, folders, layout.kubeconfig))
    working = asyncio.create_task(agent.run(ready))
    asyncio.create_task(_announce(ready)).add_done_callback(lambda _: None)
    for task in (serving, steward):
        task.add_done_callback(lambda _: agent.stopping.set())
    try:
        await working
    finally:
        steward.cancel()
        server.should_exit = True
        await asyncio.gather(serving, steward, return_exceptions=True)
        await client.close()


async def _announce(ready: asyncio.Event) -> None:
    await ready.wait()
    announce_ready(KUBELET_PORT)


def _kubelet(layout: Layout, run: Path, node: NodeSpec, agent: Agent) -> KubeletServer:
    pki = layout.pki
    authority = Authority(KeyPair((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes()))
    pair = authority.server(f"system:node:{node.name}", [node.name, node.address], _now())
    certificate, key = run / "kubelet.crt", run / "kubelet.key"
    certificate.write_bytes(pair.certificate_pem)
    key.write_bytes(pair.key_pem)
    return KubeletServer(
        kubelet_app(agent.find, time.time),
        node.address,
        certificate=certificate,
        key=key,
        authority=pki / "ca.crt",
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m armature_testbed.process_node", description=__doc__)
    add = parser.add_argument
    add("name", help="of the Node")
    add("--testbed", type=Path, required=True, metavar="DIR", help="the testbed's directory")
    add("--cpu", default="16", help="capacity, as a quantity; nothing holds pods to it but the scheduler")
    add("--memory", default="64Gi")
    add("--pods", type=int, default=110)
    add("--gpus", type=int, default=0, help="of nvidia.com/gpu")
    add("--label", action="append", default=[], metavar="KEY=VALUE")
    add("--image", action="append", default=[], metavar="PATTERN[=COMMAND]", help="run these images too")
    add("--backoff-seconds", type=float, default=10.0, help="first restart back-off")
    add("--backoff-cap-seconds", type=float, default=300.0)
    add("--refresh-seconds", type=float, default=30.0, help="between looks at mounted ConfigMaps and Secrets")
    add("--stop-grace-seconds", type=float, default=2.0, help="for all pods when the agent is stopped")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
