"""What constructor and environment give, checked: `ALHENA_*` variables, policies, journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from alhena_async._delivery.carrying import Carrier
from alhena_async._variables import OFF, POLICIES, VARIABLES, policy_from, variables_in
from alhena_async.journal import Journal
from alhena_async.policies import (
    HttpPolicy,
    QueuePolicy,
    Region,
    RetryPolicy,
    is_loopback,
    resolve_base_url,
)
from alhena_async.transports import Transport

__all__ = [
    "Route",
    "arguments_from",
    "checked_policy",
    "checked_transport",
    "half_rate",
    "journal_for_another",
    "journal_of",
    "place_of",
    "unread_variable",
    "with_linger",
]

_NOBODY: Final = "disabled"
"""The company key of a client that is switched off and was given none."""

_LINGER_AND_TIMEOUTS: Final = (
    "ALHENA_LINGER",
    "ALHENA_CART_DELIVERY_TIMEOUT",
    "ALHENA_CHECKOUT_DELIVERY_TIMEOUT",
)
"""Each may be sound alone, and not beside another."""


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

    A given policy is one on which the variables of its fields are still set: the operator has the
    last word on a number.

    Raises:
        ValueError: A variable is missing or cannot be read; the message names it.
    """
    texts = variables_in(environ)
    arguments = {
        one.argument: one.read(texts[one.name])
        for one in VARIABLES
        if one.owner is None and one.name in texts and one.argument not in given
    }
    arguments |= given
    for argument in POLICIES:
        policy = policy_from(argument, given.get(argument), texts)
        if policy is not None:
            arguments[argument] = policy
    _check_together(arguments, given, texts)
    if arguments.get("enabled") is False:  # nothing is sent, so whose it would be does not matter
        arguments.setdefault("company_key", _NOBODY)
    if "company_key" not in arguments:
        raise ValueError(
            "ALHENA_COMPANY_KEY is not set: it is the organisation's public key, which the shop's "
            "page has in document.gleenConfig; an emulator takes any"
        )
    return arguments


def unread_variable(environ: Mapping[str, str], base_url: str) -> str | None:
    """Return the variable that would keep events off the place they are sent to; None: none would.

    A key in the code leaves all variables unread. For those that somebody sets for a trial or a
    test, that is dangerous: the events reach the real API.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or is_loopback(parts.hostname or ""):
        return None  # a broker, or an emulator
    texts = variables_in(environ)
    if texts.get("ALHENA_BASE_URL", base_url).rstrip("/") != base_url.rstrip("/"):
        return "ALHENA_BASE_URL"
    if texts.get("ALHENA_ENABLED", "").lower() in OFF:
        return "ALHENA_ENABLED"
    return None


def _check_together(
    arguments: Mapping[str, Any], given: Mapping[str, Any], texts: Mapping[str, str]
) -> None:
    """Refuse what the client would refuse, under the variables' names."""
    http = arguments.get("http") or HttpPolicy()
    if "base_url" in arguments and "base_url" not in given:
        insecure = not isinstance(http, HttpPolicy) or http.allow_insecure
        try:
            resolve_base_url(Region.US, arguments["base_url"], allow_insecure=insecure)
        except ValueError as error:
            raise ValueError(f"ALHENA_BASE_URL cannot work: {error}") from None
    names = [one for one in _LINGER_AND_TIMEOUTS if one in texts]
    queue, retry = arguments.get("queue"), arguments.get("retry") or RetryPolicy()
    if names and isinstance(queue, QueuePolicy) and isinstance(retry, RetryPolicy):
        try:
            with_linger(queue, retry, 0.0)
        except ValueError as error:
            raise ValueError(f"{' or '.join(names)} cannot work: {error}") from None


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

_CARRIES: Final = ("open", "send", "close")


def checked_policy(name: str, given: _Policy | None, kind: type[_Policy]) -> _Policy:
    """Return a policy, the defaults if none was given.

    Raises:
        TypeError: It is something else.
    """
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(given).__name__}")
    return given


def checked_transport(given: Transport) -> Transport:
    """Return a transport.

    Raises:
        TypeError: It is none.
    """
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


def half_rate(queue: QueuePolicy | None) -> float | None:
    """Return the rate of a client, and of the outbox beside it: together they keep to the policy's.

    Neither is let down by the other's backlog, as it might be if they shared one.
    """
    return None if queue is None or queue.max_rate is None else queue.max_rate / 2


def place_of(journal: Journal | None) -> str | None:
    """Return where a journal keeps its events, for a line in the log; None without a journal."""
    return None if journal is None else str(getattr(journal, "directory", "the journal"))
