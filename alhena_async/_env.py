"""`ALHENA_*` environment variables -> a client's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from alhena_async.policies import QueuePolicy, Region, resolve_base_url

__all__ = ["arguments_from"]

_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def arguments_from(environ: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments; what is `given` wins over its variable.

    A given `queue` is a policy whose linger and capacity the variables still set: the operator
    has the last word on a number.

    Raises:
        ValueError: A variable is missing or cannot be read; the message names it.
    """
    variables = {name: text.strip() for name, text in environ.items() if text.strip()}
    arguments: dict[str, Any] = {}
    for name in ("company_key", "region", "base_url", "journal"):
        text = variables.get(f"ALHENA_{name.upper()}")
        if text is not None and name not in given:
            arguments[name] = text
            _check_place(name, text)
    if "ALHENA_ENABLED" in variables:
        arguments["enabled"] = _switch("ALHENA_ENABLED", variables["ALHENA_ENABLED"])
    arguments |= given
    arguments["queue"] = _queue_policy(arguments.get("queue") or QueuePolicy(), variables)
    if "company_key" not in arguments:
        raise ValueError("ALHENA_COMPANY_KEY is not set: it is the organisation's public key")
    return arguments


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
