"""The options that name a broker."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alhena_async.cli._format import clean
from alhena_async.cli._options import Command, Seconds, with_options
from alhena_async.policies import Region, resolve_base_url
from alhena_async.relay import JetStream, Postgres
from alhena_async.relay._brokers import is_database
from alhena_async.relay._topology import MAX_LEASE

__all__ = [
    "Access",
    "access_options",
    "broker_options",
    "destination_options",
    "engine_options",
    "file_at",
    "lease_option",
    "outbox_at",
    "schema_option",
]

_FILE: Final = click.Path(exists=True, dir_okay=False)

_ACCESS: Final = (
    click.option(
        "--prefix", envvar="ALHENA_BROKER_PREFIX", show_envvar=True, default="alhena",
        show_default=True, help="Names the broker's streams and subjects.",
    ),
    click.option(
        "--credentials", envvar="ALHENA_BROKER_CREDENTIALS", show_envvar=True, type=_FILE,
        help="For the broker: a file with a user's JWT and seed.",
    ),
    click.option("--nkey-seed", type=_FILE, help="For the broker: a file with an NKey's seed."),
    click.option("--ca", type=_FILE, help="Who signed the broker's certificate (PEM)."),
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Access:
    """How a broker is spoken to, wherever it is."""

    prefix: str
    credentials: str | None
    nkey_seed: str | None
    ca: str | None

    def broker(self, servers: str) -> JetStream:
        """Return the broker on these servers.

        Raises:
            click.UsageError: There can be none such.
        """
        if is_database(servers):
            raise click.UsageError("this is for NATS: an outbox in Postgres has `alhena outbox`")
        try:
            return JetStream(
                servers,
                prefix=self.prefix,
                credentials=self.credentials,
                nkey_seed=self.nkey_seed,
                ssl=None if self.ca is None else ssl.create_default_context(cafile=self.ca),
            )
        except (ValueError, OSError) as error:
            raise click.UsageError(clean(str(error))) from None


def access_options(command: Command) -> Command:
    """Give a command the options of `Access`; they arrive as `access`."""

    @wraps(command)
    def packed(*arguments: Any, **given: Any) -> Any:
        names = [field.name for field in attrs.fields(Access)]
        access = Access(**{name: given.pop(name) for name in names})
        return command(*arguments, access=access, **given)

    return with_options(_ACCESS)(packed)  # type: ignore[return-value]  # it is one still


def broker_options(command: Command) -> Command:
    """Give a command the options that name a broker; it arrives as `broker`."""

    @wraps(command)
    def with_broker(*arguments: Any, broker: str, access: Access, **others: Any) -> Any:
        return command(*arguments, broker=access.broker(broker), **others)

    named = _named("The broker's servers: nats://host:4222.")
    return named(access_options(with_broker))  # type: ignore[return-value]  # it is one still


def engine_options(command: Command) -> Command:
    """Give a command the options that name a broker or an outbox; it arrives as `broker`."""

    @wraps(command)
    def with_broker(
        *arguments: Any, broker: str, access: Access, schema: str | None, **others: Any
    ) -> Any:
        made = outbox_at(broker, schema) if is_database(broker) else access.broker(broker)
        return command(*arguments, broker=made, **others)

    named = _named(
        "The broker's servers (nats://host:4222), or an outbox (postgresql://host/database)."
    )
    return named(schema_option(access_options(with_broker)))  # type: ignore[return-value]  # one still


def _named(text: str) -> Callable[[Command], Command]:
    return click.option(
        "--broker",
        metavar="URL[,URL]",
        required=True,
        envvar="ALHENA_BROKER",
        show_envvar=True,
        help=text,
    )


schema_option: Final = click.option(
    "--schema",
    envvar="ALHENA_BROKER_SCHEMA",
    show_envvar=True,
    help="Where an outbox's tables are. Default: wherever the search path finds them.",
)


_DESTINATION: Final = (
    click.option("--region", type=click.Choice([one.value for one in Region]), help="Default: us."),
    click.option("--base-url", metavar="URL", help="Instead of a region's host."),
    click.option("--allow-insecure", is_flag=True, help="Permit plain http beyond this machine."),
)


def destination_options(command: Command) -> Command:
    """Give a command the options that say where relays send; it arrives as `destination`."""

    @wraps(command)
    def with_destination(
        *arguments: Any,
        region: str | None,
        base_url: str | None,
        allow_insecure: bool,
        **others: Any,
    ) -> Any:
        if region and base_url:
            raise click.UsageError("--region and --base-url say the same: give one of them")
        try:
            destination = resolve_base_url(
                region or Region.US, base_url, allow_insecure=allow_insecure
            )
        except ValueError as error:
            raise click.UsageError(clean(str(error))) from None
        return command(*arguments, destination=destination, **others)

    return with_options(_DESTINATION)(with_destination)  # type: ignore[return-value]  # one still


lease_option: Final = click.option(
    "--lease",
    type=Seconds(1, MAX_LEASE),
    default=60,
    show_default=True,
    help="Seconds after which another relay has what one took and did not finish.",
)


def outbox_at(url: str, schema: str | None) -> Postgres:
    """Return the outbox of a database.

    Raises:
        click.UsageError: There can be none such.
    """
    try:
        return Postgres(url, schema=schema)
    except ValueError as error:
        raise click.UsageError(clean(str(error))) from None


def file_at(url: str) -> Path:
    """Return the file that a URL names: `sqlite:///shop.db`, with a fourth slash from the root.

    Raises:
        click.UsageError: It names none.
    """
    path = url.removeprefix("sqlite:///")
    if path in {"", url}:
        raise click.UsageError("write sqlite:///shop.db, or sqlite:////var/lib/shop.db")
    return Path(path)
