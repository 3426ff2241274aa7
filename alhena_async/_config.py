"""What constructor and environment give, checked: `ALHENA_*` variables, policies, journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs

from alhena_async._delivery.carrying import Carrier
from alhena_async.journal import Journal
from alhena_async.policies import (
    HttpPolicy,
    QueuePolicy,
    Region,
    RetryPolicy,
    resolve_base_url,
)
from alhena_async.transports import Transport

__all__ = [
    "Route",
    "arguments_from",
    "journal_for_another",
    "journal_of",
    "place_of",
    "variables_in",
    "with_linger",
]

_NOBODY: Final = "disabled"
"""The company key of a client that is switched off and was given none."""

_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


@attrs.frozen(kw_only=True)
class Route:
    """How events leave a client."""

    transport: Transport | Carrier
    destination: str
    """What a journal's files are for."""
    name: str
    """What log lines call where events go."""
    linger: float
    """Seconds, where the policy names none."""
    http: HttpPolicy
    """How long an attempt may take, and what it says."""
    keeper: str = "the next client with this journal"
    """Who delivers what the client leaves behind, for its log."""
    fence: Callable[[], bool] | None = None
    """Asked before each attempt whether anything may be sent; None: always."""


def arguments_from(environ: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments; what is `given` wins over its variable.

    A given `queue` is a policy whose linger and capacity the variables still set: the operator
    has the last word on a number.

    Raises:
        ValueError: A variable is missing or cannot be read; the message names it.
    """
    variables = variables_in(environ)
    arguments: dict[str, Any] = {}
    for name in ("company_key", "region", "base_url", "journal"):
        text = variables.get(f"ALHENA_{name.upper()}")
        if text is not None and name not in given:
            arguments[name] = text.lower() if name == "region" else text
            _check_place(name, arguments[name])
    if "ALHENA_ENABLED" in variables:
        arguments["enabled"] = _switch("ALHENA_ENABLED", variables["ALHENA_ENABLED"])
    arguments |= given
    arguments["queue"] = _queue_policy(arguments.get("queue") or QueuePolicy(), variables)
    if arguments.get("enabled") is False:  # nothing is sent, so whose it would be does not matter
        arguments.setdefault("company_key", _NOBODY)
    if "company_key" not in arguments:
        raise ValueError("ALHENA_COMPANY_KEY is not set: it is the organisation's public key")
    return arguments


def variables_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is set; an empty variable counts as unset."""
    return {name: text.strip() for name, text in environ.items() if text.strip()}


def _check_place(name: str, text: str) -> None:
    """Refuse what the client would refuse, under the variable's name."""
    try:
        if name == "region":
            resolve_base_url(text, None, allow_insecure=False)
        elif name == "base_url":  # whether it may be insecure is not said here
            resolve_base_url(Region.US, text, allow_insecure=True)
    except ValueError as error:
        raise ValueError(f"ALHENA_{name.upper()} cannot work: {error}") from None


def _queue_policy(given: QueuePolicy, variables: Mapping[str, str]) -> QueuePolicy:
    fields: dict[str, Any] = {}
    if "ALHENA_LINGER" in variables:
        fields["linger"] = _number("ALHENA_LINGER", variables["ALHENA_LINGER"], float, "seconds")
    if "ALHENA_CAPACITY" in variables:
        text = variables["ALHENA_CAPACITY"]
        fields["capacity"] = _number("ALHENA_CAPACITY", text, int, "a whole number of events")
    try:
        return attrs.evolve(given, **fields)
    except ValueError as error:
        names = " or ".join(f"ALHENA_{name.upper()}" for name in fields)
        raise ValueError(f"{names} cannot work: {error}") from None


def _number(name: str, text: str, kind: type[int | float], meaning: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {meaning}, not {text!r}") from None


def _switch(name: str, text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError(f"{name} must be one of {', '.join(_SWITCH)}, not {text!r}") from None


def journal_of(given: Journal | str | os.PathLike[str] | None) -> Journal | None:
    """Return the journal that is meant; a directory means a `SQLiteJournal` in it.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(given, str | os.PathLike):
        # Whoever needs no journal loads no sqlite3.
        from alhena_async.journal import SQLiteJournal  # noqa: PLC0415

        return SQLiteJournal(given)
    if given is not None and not callable(getattr(given, "mark", None)):
        raise TypeError(f"journal must be a directory or a journal, not {type(given).__name__}")
    return given


def journal_for_another(
    given: Journal | str | os.PathLike[str] | None,
) -> Journal | str | os.PathLike[str] | None:
    """Return a journal for one more client of the same settings, where it is one of ours.

    A journal belongs to one client. A directory is good for any number.
    """
    unopened = getattr(given, "unopened", None)
    return unopened() if callable(unopened) else given


_Policy = TypeVar("_Policy", QueuePolicy, RetryPolicy, HttpPolicy)


_CARRIES = ("open", "send", "close")


def _checked(name: str, given: _Policy | None, kind: type[_Policy]) -> _Policy:
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(given).__name__}")
    return given


def _checked_transport(given: Transport) -> Transport:
    if isinstance(given, type) or not all(hasattr(given, name) for name in _CARRIES):
        raise TypeError(f"transport must have {', '.join(_CARRIES)}, not be {given!r:.80}")
    return given


def with_linger(queue: QueuePolicy, retry: RetryPolicy, default: float) -> QueuePolicy:
    """Return a policy whose linger is a number: its own, or the default.

    Raises:
        ValueError: Events would expire before it is over.
    """
    linger = default if queue.linger is None else queue.linger
    shortest = min(retry.cart_delivery_timeout, retry.checkout_delivery_timeout)
    if linger >= shortest:
        raise ValueError(
            f"QueuePolicy.linger ({linger:g} s) must be shorter than every delivery "
            f"timeout ({shortest:g} s): events would expire before they are sent"
        )
    return attrs.evolve(queue, linger=linger)


def place_of(journal: Journal | None) -> str | None:
    """Return where a journal keeps its events, for a line in the log; None without a journal."""
    return None if journal is None else str(getattr(journal, "directory", "the journal"))
