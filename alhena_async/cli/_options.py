"""Kinds of option values, and the options that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from alhena_async.cli._format import clean
from alhena_async.emulator import FaultPlan, Preconditions, Tickets
from alhena_async.policies import Coalescing

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


def cannot_read(path: str, error: Exception) -> CommandError:
    """Return the error of an input that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    return CommandError(f"cannot read {path}: {why}")


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


drain_option: Final = click.option(
    "--drain",
    "drain",
    type=Seconds(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="After Ctrl-C or SIGTERM: how long to wait for what is under way.",
)

allow_insecure_option: Final = click.option(
    "--allow-insecure", is_flag=True, help="Permit plain http to a host other than this machine."
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


def emulator_options(command: Command) -> Command:
    """Give a command the options that say how the emulator behaves."""
    for option in reversed(_EMULATOR_OPTIONS):
        command = option(command)
    return command


def fault_plan(faults: tuple[str, ...], seed: int | None) -> FaultPlan:
    """Return the plan of several faults.

    Raises:
        click.UsageError: Together they make no plan.
    """
    try:
        return FaultPlan.parse(faults, seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
