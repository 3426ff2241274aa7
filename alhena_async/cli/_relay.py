"""`alhena relay`: what stands at the broker, made and looked at; a worker that delivers from it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Any

import click

from alhena_async import RetryPolicy
from alhena_async.cli._broker import (
    broker_options,
    destination_options,
    engine_options,
    lease_option,
)
from alhena_async.cli._console import Screen
from alhena_async.cli._format import ago, count, plural
from alhena_async.cli._health import serving_health
from alhena_async.cli._options import CommandError, Seconds, http_here
from alhena_async.cli._signals import run
from alhena_async.cli._summary import facts
from alhena_async.cli._told import told
from alhena_async.relay import JetStream, Postgres, Relay
from alhena_async.relay._admin import Standing, connected, look, make, topology_error_in
from alhena_async.relay._postgres_admin import connected as connected_to_database
from alhena_async.relay._topology import (
    MAX_PARTITIONS,
    Plan,
    Topology,
    missing,
    plan,
)
from alhena_async.transports import TransportError

__all__ = ["relay"]


@click.group(short_help="Deliver from a broker, on any number of machines.")
def relay() -> None:
    """Deliver from a broker (NATS JetStream) or an outbox (Postgres), on any number of machines."""


@relay.command("init", short_help="Make what stands at the broker.")
@broker_options
@destination_options
@click.option(
    "--partitions",
    type=click.IntRange(1, MAX_PARTITIONS),
    default=64,
    show_default=True,
    help="Events that are under way at once, at most.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=1,
    show_default=True,
    help="Servers that keep each event.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1 << 20),
    default=1 << 30,
    show_default=True,
    help="Bytes that may wait.",
)
@lease_option
@click.option("--apply", "apply_", is_flag=True, help="Change what differs, too.")
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
def init(
    broker: JetStream,
    *,
    destination: str,
    apply_: bool,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Make what is missing at the broker, and show what differs.

    What differs is left alone, and the exit status is 1; --apply changes it. The number of
    partitions changes only while nothing waits.
    """
    topology = Topology(prefix=broker.prefix, destination=destination, **wanted)
    made = run(told(_init(broker, topology, apply_=apply_)))
    _show_init(topology, made, applied=apply_, as_json=as_json)
    raise SystemExit(1 if made.differences and not apply_ else 0)


async def _init(broker: JetStream, wanted: Topology, *, apply_: bool) -> Plan:
    async with connected(broker) as connection:
        found = await look(connection, broker.prefix)
        made = plan(wanted, found.topology, has_letters=found.has_letters)
        changes_partitions = any(one.what == "partitions" for one in made.differences)
        if apply_ and changes_partitions and found.waiting:
            raise CommandError(
                f"{plural(found.waiting, 'event')} wait in {wanted.stream}: the number of "
                "partitions changes only while nothing waits. Stop the publishers, let the relays "
                "finish, and run it again"
            )
        await make(connection, made, changes=apply_)
    return made


def _show_init(wanted: Topology, made: Plan, *, applied: bool, as_json: bool) -> None:
    screen = Screen()
    if as_json:
        differences = [
            {"what": one.what, "is": one.found, "wanted": one.wanted} for one in made.differences
        ]
        screen.write(
            json.dumps(
                {"stream": wanted.stream, "created": list(made.created), "differences": differences}
            )
        )
        return
    for name in made.created:
        screen.write(f"created {name}")
    for one in made.differences:
        verb = "was" if applied else "is"
        screen.write(f"{one.what} {verb} {one.found}, wanted {one.wanted}")
    if made.differences and not applied:
        screen.write("Nothing of that was changed: --apply does.")
    elif not made.created and not made.differences:
        screen.write(f"{wanted.stream} stands as it is wanted.")


@relay.command("status", short_help="Say what waits at the broker.")
@broker_options
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
def status(broker: JetStream, *, as_json: bool) -> None:
    """Say what waits at the broker, how old it is, and how many dead letters there are.

    A dead letter is an event that could not be delivered, with the reason.
    """
    said = run(told(_status(broker)))
    screen = Screen()
    if as_json:
        screen.write(json.dumps(said))
        return
    rows = [(name.replace("_", " "), _shown(name, value), "") for name, value in said.items()]
    screen.show(facts(rows))


def _shown(name: str, value: Any) -> str:
    if name == "oldest_age":
        return ago(value) if value else "-"
    return count(value) if isinstance(value, int) else str(value)


async def _status(broker: JetStream) -> dict[str, Any]:
    async with connected(broker) as connection:
        found = await look(connection, broker.prefix)
    if found.topology is None:
        raise missing(broker.prefix)
    return _facts_of(found, found.topology)


def _facts_of(found: Standing, topology: Topology) -> dict[str, Any]:
    age = 0.0
    if found.oldest_at is not None:
        age = max(0.0, (dt.datetime.now(dt.UTC) - found.oldest_at).total_seconds())
    return {
        "stream": topology.stream,
        "partitions": topology.partitions,
        "replicas": topology.replicas,
        "lease": topology.lease,
        "destination": topology.destination,
        "waiting": found.waiting,
        "oldest_age": round(age, 3),
        "bytes": found.bytes,
        "max_bytes": topology.max_bytes,
        "dead_letters": found.dead_letters,
    }


@relay.command("run", short_help="Deliver what waits, until it is stopped.")
@engine_options
@click.option(
    "--drain",
    type=Seconds(0),
    default=10,
    show_default=True,
    help="Seconds to finish what is held when it is stopped.",
)
@click.option("--health", metavar="HOST:PORT", help="Serve /healthz, /readyz and /stats there.")
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Attempts of one event that fail while others succeed.",
)
@click.option(
    "--cart-timeout",
    type=Seconds(0, min_open=True),
    default=900,
    show_default=True,
    help="Seconds from its acceptance in which a cart event is worth delivering.",
)
@click.option(
    "--checkout-timeout",
    type=Seconds(0, min_open=True),
    default=86_400,
    show_default=True,
    help="The same of an order.",
)
@click.option(
    "--request-timeout",
    type=Seconds(0, min_open=True),
    default=10,
    show_default=True,
    envvar="ALHENA_REQUEST_TIMEOUT",
    show_envvar=True,
    help="Seconds for one request.",
)
@click.option(
    "--max-rate",
    type=click.FloatRange(0, min_open=True),
    envvar="ALHENA_MAX_RATE",
    show_envvar=True,
    help="Requests a second of this relay, at most. Default: no bound.",
)
def run_relay(
    broker: JetStream | Postgres,
    *,
    drain: float,
    health: str | None,
    max_attempts: int,
    cart_timeout: float,
    checkout_timeout: float,
    request_timeout: float,
    max_rate: float | None,
) -> None:
    """Take events from the broker and deliver them, in order per visitor.

    Where they go is written down at the broker; proxy and headers for a gateway are the
    environment's (ALHENA_PROXY, ALHENA_HEADERS, ...).

    Ctrl-C or SIGTERM: what is held is finished, the rest is given back, and the exit status is 0.
    """
    worker = Relay(
        broker=broker,
        retry=RetryPolicy(
            cart_delivery_timeout=cart_timeout,
            checkout_delivery_timeout=checkout_timeout,
            precondition_retries=0,
        ),
        http=http_here(request_timeout=request_timeout),
        max_attempts=max_attempts,
        max_rate=max_rate,
    )
    run(told(_run(broker, worker, drain=drain, health=_address(health))))


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise click.UsageError("--health is HOST:PORT, as in 0.0.0.0:8080")
    return host.strip("[]"), int(port)


async def _run(
    broker: JetStream | Postgres, worker: Relay, *, drain: float, health: tuple[str, int] | None
) -> None:
    task = asyncio.current_task()
    try:
        await _check(broker)
        async with serving_health(worker, health):
            await worker.run(drain_timeout=drain)
    except asyncio.CancelledError:
        assert task is not None  # noqa: S101  for mypy
        task.uncancel()  # it is the end that is meant


async def _check(broker: JetStream | Postgres) -> None:
    """Return unless it can never be used; a broker that is away may come.

    Raises:
        TopologyError: What stands there has to be made, or changed.
    """
    try:
        if isinstance(broker, Postgres):
            async with connected_to_database(broker) as database:
                await broker.dialler().read(database, relays=True)
            return
        async with connected(broker) as connection:
            await broker.dialler().read(connection)
    except TransportError as error:
        unusable = topology_error_in(error)
        if unusable is not None:
            raise unusable from None
