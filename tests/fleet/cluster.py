"""One NATS server or several that keep everything together, killed and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from alhena_async.relay import JetStream
from alhena_async.relay._admin import Standing, connected, look
from alhena_async.relay._topology import Topology
from alhena_async.transports import TransportError
from tests.fleet.processes import free_ports
from tests.nats_process import NatsServer, make_topology
from tests.patience import PATIENCE

__all__ = ["Cluster"]


class Cluster:
    """The broker of a fleet.

    Args:
        directory: Where the servers store.
        nodes: How many there are: 1 or 3.
        sync: When they sync to disk: `default`, or `always`.
    """

    def __init__(self, directory: Path, *, nodes: int, sync: str) -> None:
        self.nodes = [
            NatsServer(_made(directory / f"node-{number}"), settings, jetstream=_sync(sync))
            for number, settings in enumerate(_settings(nodes))
        ]

    @property
    def servers(self) -> str:
        """Where all of them are."""
        return ",".join(node.url for node in self.nodes)

    async def start(self, topology: Topology) -> None:
        """Start them, and make what is to stand there, as `alhena relay init` does."""
        for node in self.nodes:
            await node.start()
        async with asyncio.timeout(PATIENCE):
            while not await self._made(topology):  # noqa: ASYNC110  other processes
                await asyncio.sleep(0.2)

    async def _made(self, topology: Topology) -> bool:
        try:
            await make_topology(JetStream(self.servers), topology)
        except TransportError:  # they have not found each other yet
            return False
        return True

    async def standing(self) -> Standing:
        """Return what stands, once it can be told."""
        broker = JetStream(self.servers)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with connected(broker) as connection:
                        return await look(connection, broker.prefix)
                except TransportError:
                    await asyncio.sleep(0.2)

    async def synced(self) -> None:
        """Wait until each server has all that the others have: then one may go."""
        async with asyncio.timeout(PATIENCE):
            while not await self._are_current():  # noqa: ASYNC110  other processes
                await asyncio.sleep(0.2)

    async def _are_current(self) -> bool:
        broker = JetStream(self.servers)
        try:
            async with connected(broker) as connection:
                stream = await connection.api("STREAM.INFO.ALHENA", {})
                listed = await connection.api("CONSUMER.LIST.ALHENA", {})
        except TransportError:
            return False
        return all(map(_is_current, (stream, *listed["consumers"])))

    def stop(self) -> None:
        """End them for good."""
        for node in self.nodes:
            node.stop()


def _is_current(asset: dict[str, Any]) -> bool:
    """Return whether a stream or a consumer has a leader, and replicas that are up to date."""
    cluster = asset.get("cluster", {})
    replicas = cluster.get("replicas") or []
    return (
        bool(cluster.get("leader"))
        and len(replicas) > 1
        and all(one.get("current") and not one.get("offline") for one in replicas)
    )


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def _sync(sync: str) -> str:
    return "sync_interval: always" if sync == "always" else ""


def _settings(nodes: int) -> list[str]:
    if nodes == 1:
        return [""]
    ports = free_ports(nodes)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        f"server_name: node-{number}\n"
        f'cluster {{ name: fleet, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
        for number, port in enumerate(ports)
    ]
