"""Kinds of option values, the options that commands share, and what they make."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs
import click

from alhena_async import AlhenaClient, HttpPolicy, Observer, QueuePolicy, RetryPolicy
from alhena_async._http.transport import HttpTransport
from alhena_async._variables import policy_from, variables_in
from alhena_async.cli._format import clean
from alhena_async.cli._input import STDIN, Identity, InputBrokenError, Reader, WrongFormatError
from alhena_async.cli._tally import Allowance
from alhena_async.emulator import FaultPlan, Preconditions, Tickets
from alhena_async.policies import Coalescing, Region, is_loopback, resolve_base_url
from alhena_async.transports import Transport

Command = TypeVar("Command", bound=Callable[..., Any])

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|sec|m|min|h))?", re.ASCII)

_SECONDS: Final = {None: 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


_LONGEST: Final = 10_000_000
"""Seconds: a hundred days, and no timer's overflow."""


class CommandError(click.ClickException):
    """Ends a command before anything was sent, with a line that says why."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(clean(message, limit=2000))


async def identified(reader: Reader, path: str) -> Identity:
    """Begin to read an input; return what tells it from another.

    Raises:
        CommandError: It cannot be read, or holds no JSON lines.
    """
    try:
        return await reader.identify()
    except WrongFormatError as error:
        name = "standard input" if path == STDIN else path
        raise CommandError(f"{name} {error}") from None
    except (OSError, InputBrokenError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandError(f"cannot read {path}: {why}") from None


class JournalDirectory(click.Path):
    """A journal's directory. Who gives an outbox or a broker hears which command looks into it."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: It is none, or not of a directory.
        """
        if "://" in str(value):
            self.fail(
                "it is the directory that a client has as journal; for an outbox there is `alhena "
                "outbox status URL`, for a broker `alhena relay status --broker URL`", param, ctx,
            )  # fmt: skip
        if os.path.isfile(value):  # noqa: PTH113  Path's own raises for a name too long
            self.fail(
                f"{clean(str(value))} is a file, and a journal is a directory; where it is a "
                "database with an outbox, its name is sqlite:///FILE (alhena outbox status)",
                param, ctx,
            )  # fmt: skip
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A number of seconds within bounds, which NaN and infinity are not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        seconds = float(super().convert(value, param, ctx))
        if not seconds <= _LONGEST:
            self.fail(f"at most {_LONGEST:,} seconds", param, ctx)
        return seconds


def rate(value: str) -> float:
    """Read `50`, `50/s`, `600/min` as events a second, more than 0.

    Raises:
        click.BadParameter: It is no rate.
    """
    found = _RATE.fullmatch(value.strip())
    events = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    if not 0 < events < math.inf:
        raise click.BadParameter("a rate is written 50, 50/s or 600/min, and is more than 0")
    return events


def speed(value: str) -> float:
    """Read `60` or `60x`, more than 0.

    Raises:
        click.BadParameter: It is no speed.
    """
    try:
        times = float(value.strip().removesuffix("x"))
    except ValueError:
        times = 0.0
    if not 0 < times < math.inf:
        raise click.BadParameter("a speed is a number above 0: 1, 0.5, 60x")
    return times


def allowance(value: str) -> Allowance:
    """Read `12` or `0.5%`.

    Raises:
        click.BadParameter: It is neither.
    """
    number, is_share = value.strip().removesuffix("%"), value.strip().endswith("%")
    try:
        most = float(number) if is_share else int(number)
    except ValueError:
        most = -1
    if not 0 <= most <= (100 if is_share else math.inf):
        raise click.BadParameter("give a number of lines or a share of them: 12, 0.5%")
    return Allowance(most=most / 100 if is_share else most, is_share=is_share)


def fault(value: str) -> str:
    """Check that the emulator knows such a fault, and return the text.

    Raises:
        click.BadParameter: It does not.
    """
    try:
        FaultPlan.parse([value])
    except ValueError as error:
        raise click.BadParameter(clean(str(error), limit=1000)) from None
    return value


def http_here(**options: Any) -> HttpPolicy:
    """Return how requests travel from here: by this environment's proxy, with its headers.

    Args:
        **options: Fields that the command's options have; they win.

    Raises:
        click.UsageError: A variable cannot be read, or cannot work.
    """
    try:
        policy: HttpPolicy = policy_from("http", HttpPolicy(), variables_in(os.environ))
    except ValueError as error:
        raise click.UsageError(clean(str(error))) from None
    return attrs.evolve(policy, **options)


@attrs.frozen(kw_only=True)
class SendingOptions:
    """Where events go, and for how long it is tried: the options of every command that sends."""

    base_url: str | None
    """Instead of a region's host."""
    region: str | None
    max_in_flight: int
    """Requests at once."""
    give_up_after: float
    """Seconds."""
    drain: float
    """Seconds for what is under way when the run is stopped."""
    allow_insecure: bool

    @property
    def destination(self) -> str:
        """The base URL.

        Raises:
            click.UsageError: There can be none such.
        """
        region, base_url = self.region or Region.US, self.base_url or None
        try:
            return resolve_base_url(region, base_url, allow_insecure=self.allow_insecure)
        except (ValueError, TypeError) as error:
            raise click.UsageError(clean(str(error))) from None

    @property
    def stays_here(self) -> bool:
        """Whether nothing leaves this machine."""
        return is_loopback(urlsplit(self.destination).hostname or "")

    def client(
        self,
        company_key: str,
        *,
        observer: Observer,
        outstanding: int,
        coalescing: Coalescing = Coalescing.OFF,
        assign_order_ids: bool = True,
        carried_by: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> AlhenaClient:
        """Make the client that the options describe.

        Args:
            company_key: The organisation's.
            observer: Who watches it.
            outstanding: Events that are handed over and not yet answered, at most.
            coalescing: What folds.
            assign_order_ids: Give checkouts without an order id one.
            carried_by: Puts something around what carries the requests.

        Raises:
            click.UsageError: They do not go together.
        """
        try:
            http = http_here(allow_insecure=self.allow_insecure)
            return AlhenaClient(
                company_key,
                region=Region(self.region or Region.US),
                base_url=self.base_url or None,
                coalescing=coalescing,
                queue=QueuePolicy(
                    # Whoever sends waits by himself, and a file may be of one visitor alone.
                    capacity=2 * outstanding,
                    lane_capacity=2 * outstanding,
                    # Nothing to wait for where nothing folds.
                    linger=0.0 if coalescing is Coalescing.OFF else 0.25,
                    flush_at=max(1, outstanding // 2),
                    max_in_flight=self.max_in_flight,
                ),
                retry=RetryPolicy(
                    cart_delivery_timeout=self.give_up_after,
                    checkout_delivery_timeout=self.give_up_after,
                    # No other process holds the earlier event: what is read here is all there is.
                    precondition_retries=0,
                    assign_order_ids=assign_order_ids,
                ),
                http=http,
                transport=carried_by(HttpTransport(self.destination, http)),
                observers=[observer],
            )
        except (ValueError, TypeError) as error:
            raise click.UsageError(clean(str(error))) from None


def sending_options(
    *,
    region: Region | None,
    max_in_flight: int,
    give_up_after: int,
    told: str = "",
    from_environment: bool = False,
) -> Callable[[Command], Command]:
    """Give a command the options of `SendingOptions`; they arrive as `sending`.

    Args:
        region: The default; None has none.
        max_in_flight: The default.
        give_up_after: The default, in seconds.
        told: What the help says beside the option of that name.
        from_environment: Whether `ALHENA_REGION`, `ALHENA_BASE_URL` and `ALHENA_ALLOW_INSECURE`
            count. The other variables of `HttpPolicy` always do.
    """

    def variable(name: str) -> dict[str, Any]:
        return {"envvar": name, "show_envvar": True} if from_environment else {}

    options = [
        click.option(
            "--region",
            type=click.Choice([one.value for one in Region], case_sensitive=False),
            default=region and region.value,
            show_default=region is not None,
            help="Where the organisation's data lives.",
            **variable("ALHENA_REGION"),
        ),
        click.option(
            "--base-url",
            metavar="URL",
            help="Instead of the region's API: an emulator's address.",
            **variable("ALHENA_BASE_URL"),
        ),
        click.option(
            "--max-in-flight",
            type=click.IntRange(1, 1_000),
            metavar="N",
            default=max_in_flight,
            show_default=True,
            help="Requests at once, at most. One visitor's events never overtake each other.",
        ),
        click.option(
            "--give-up-after",
            type=Seconds(min=1),
            default=give_up_after,
            show_default=True,
            metavar="SECONDS",
            help=f"How long an event is tried before it expires{told}.",
        ),
        click.option(
            "--drain",
            type=Seconds(min=0),
            default=10,
            show_default=True,
            metavar="SECONDS",
            help="After Ctrl-C or SIGTERM: how long to wait for what is under way.",
        ),
        click.option(
            "--allow-insecure",
            is_flag=True,
            help="Permit plain http to a host other than this machine.",
            **variable("ALHENA_ALLOW_INSECURE"),
        ),
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def packed(*args: Any, **given: Any) -> Any:
            names = [field.name for field in attrs.fields(SendingOptions)]
            sending = SendingOptions(**{name: given.pop(name) for name in names})
            return command(*args, sending=sending, **given)

        return with_options(options)(packed)  # type: ignore[return-value]  # it is one still

    return decorate


def with_options(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Give a command several options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def company_key_option(*, required: bool) -> Callable[[Command], Command]:
    """Give a command the option that says whose events it sends."""
    return click.option(
        "--company-key",
        envvar="ALHENA_COMPANY_KEY",
        show_envvar=True,
        required=required,
        metavar="KEY",
        help="The organisation's public key.",
    )


json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, for programs."
)

name_from_id_option: Final = click.option(
    "--name-from-id", is_flag=True, help="Put the product id where a name is empty."
)

derive_visitors_option: Final = click.option(
    "--derive-visitors",
    is_flag=True,
    help="Send lines that name a visitor by the shop's own id to another machine as well. Their "
    "fingerprints are then invented: no browser has them, and the API attributes nothing to them.",
)

COALESCING: Final = click.Choice([mode.value for mode in Coalescing])

_EMULATOR_OPTIONS: Final = (
    click.option(
        "--tickets",
        type=click.Choice([choice.value for choice in Tickets]),
        default=Tickets.ALL.value,
        show_default=True,
        help="Which visitors have a conversation: all of them, or only those opened on the page.",
    ),
    click.option(
        "--preconditions",
        type=click.Choice([choice.value for choice in Preconditions]),
        default=Preconditions.OFF.value,
        show_default=True,
        help="Hold cart events against earlier ones: not at all; ask for an ITEM_ADDED before any "
        "other (lenient); also for an increase before a decrease (strict).",
    ),
    click.option(
        "--fault",
        "faults",
        type=fault,
        metavar="KIND=SHARE[:DETAIL]",
        multiple=True,
        help="Let a share of requests go wrong; may be given several times. Kinds: error, "
        "error-after (:STATUS, default 500), throttle, unavailable (:RETRY-AFTER, default 1s), "
        "reset, reset-before, reset-after, hang, hang-after, truncated, html, latency (:TIME, "
        "default 200ms). Examples: error=0.1, error=5%:502, throttle=2%:3s, latency=0.5:50ms.",
    ),
    click.option(
        "--seed",
        type=int,
        default=None,
        help="Seed of the faults' dice: the same seed throws the same. Default: another each time.",
    ),
)


emulator_options: Final = with_options(_EMULATOR_OPTIONS)
"""Gives a command the options that say how the emulator behaves."""


def fault_plan(faults: tuple[str, ...], seed: int | None) -> FaultPlan:
    """Return the plan of several faults.

    Raises:
        click.UsageError: Together they make no plan.
    """
    try:
        return FaultPlan.parse(faults, seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
