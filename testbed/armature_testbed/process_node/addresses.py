"""Addresses of process nodes and their pods, out of the half of 10.244.0.0/16 that simulated nodes do not take.

Node number N (from 1) is 10.244.127.N and its pods are 10.244.N.2 to .254; all of it is local to the testbed's network
namespace, so that no address needs a set-up of its own.
"""

from __future__ import annotations

import ipaddress

__all__ = ["MOST_NODES", "AddressPool", "node_address", "pod_block"]

MOST_NODES = 126


def node_address(number: int) -> str:
    """The address of process node `number`, 1 to MOST_NODES."""
    _check(number)
    return f"10.244.127.{number}"


def pod_block(number: int) -> str:
    """The pods' block of process node `number`."""
    _check(number)
    return f"10.244.{number}.0/24"


class AddressPool:
    """Hands out the addresses of a block, the one given back longest ago first, so that none is reused at once."""

    def __init__(self, block: str) -> None:
        self._free = [str(address) for address in ipaddress.ip_network(block).hosts()][1:]

    def take(self) -> str | None:
        """A free address; None when all are in use."""
        return self._free.pop(0) if self._free else None

    def give_back(self, address: str) -> None:
        self._free.append(address)


def _check(number: int) -> None:
    if not 1 <= number <= MOST_NODES:
        raise ValueError(f"process node number {number} is not between 1 and {MOST_NODES}")
