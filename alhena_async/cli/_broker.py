"""The options that name a broker."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

import click

from alhena_async.cli._format import clean
from alhena_async.relay import JetStream

__all__ = ["broker_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False)


def broker_options(*, required: bool = True) -> Callable[[Command], Command]:
    """Give a command the options that name a broker; it arrives as `broker`.

    Args:
        required: Whether there has to be one, from `ALHENA_BROKER` if need be. Else it is None
            unless the command line names one.
    """

    def variable(name: str) -> dict[str, Any]:
        return {"envvar": name, "show_envvar": True} if required else {}

    options = [
        click.option(
            "--broker",
            metavar="URL[,URL]",
            required=required,
            help="The broker's servers: nats://host:4222.",
            **variable("ALHENA_BROKER"),
        ),
        click.option(
            "--prefix",
            default="alhena",
            show_default=True,
            help="Names the broker's streams and subjects.",
            **variable("ALHENA_BROKER_PREFIX"),
        ),
        click.option(
            "--credentials",
            type=_FILE,
            help="A file with a user's JWT and seed.",
            **variable("ALHENA_BROKER_CREDENTIALS"),
        ),
        click.option("--nkey-seed", type=_FILE, help="A file with a seed."),
        click.option("--ca", type=_FILE, help="Who signed the broker's certificate (PEM)."),
    ]

    def add(command: Command) -> Command:
        made: Any = _with_broker(command)
        for option in reversed(options):
            made = option(made)
        result: Command = made
        return result

    return add


def _with_broker(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def with_broker(
        *arguments: Any,
        broker: str | None,
        prefix: str,
        credentials: str | None,
        nkey_seed: str | None,
        ca: str | None,
        **others: Any,
    ) -> Any:
        made = None
        if broker is not None:
            made = _broker_of(broker, prefix, credentials=credentials, nkey_seed=nkey_seed, ca=ca)
        return command(*arguments, broker=made, **others)

    return with_broker


def _broker_of(
    servers: str, prefix: str, *, credentials: str | None, nkey_seed: str | None, ca: str | None
) -> JetStream:
    try:
        context = None if ca is None else ssl.create_default_context(cafile=ca)
        return JetStream(
            servers, prefix=prefix, credentials=credentials, nkey_seed=nkey_seed, ssl=context
        )
    except (ValueError, OSError) as error:
        raise click.UsageError(clean(str(error))) from None
