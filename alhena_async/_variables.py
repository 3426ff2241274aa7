"""The `ALHENA_*` variables: one for each argument and each policy's field that text can say.

The table is made from the policies' own fields, so that a new field has its variable at once.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import attrs

from alhena_async.policies import (
    BreakerPolicy,
    Coalescing,
    HttpPolicy,
    OrderIdField,
    Overflow,
    QueuePolicy,
    Region,
    RetryPolicy,
)

__all__ = [
    "BROKER_VARIABLES",
    "EMULATOR_VARIABLE",
    "OFF",
    "POLICIES",
    "VARIABLES",
    "Variable",
    "named_error",
    "policy_from",
    "variables_in",
]

POLICIES: Final[Mapping[str, type[Any]]] = {
    "queue": QueuePolicy,
    "retry": RetryPolicy,
    "http": HttpPolicy,
}
"""A client's arguments that are policies."""

BROKER_VARIABLES: Final = (
    "ALHENA_BROKER",
    "ALHENA_BROKER_PREFIX",
    "ALHENA_BROKER_CREDENTIALS",
    "ALHENA_BROKER_SCHEMA",
)
"""Read by `Publisher.from_env` and by the commands that speak to a broker, and by no client."""

EMULATOR_VARIABLE: Final = "ALHENA_EMULATOR_TOKEN"
"""Read by `alhena emulate`, and by no client."""

_FULLER_NAMES: Final = {"base": "retry_base", "cap": "retry_cap"}
"""Of fields whose own name says too little where no policy stands around it."""

OFF: Final = ("0", "false", "no", "off")
"""What a variable says for no."""

_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(OFF, False),
}


@attrs.frozen
class _Kind:
    """How text is read as a value."""

    read: Callable[[str], Any]
    """Raises ValueError for text that is none."""
    meaning: str
    """What it takes, for a message and a table."""


@attrs.frozen(kw_only=True, eq=False)
class Variable:
    """One variable, and what it sets."""

    name: str
    argument: str
    """Of the client."""
    owner: type[Any] | None
    """The policy whose field it sets; None: the argument itself."""
    field: str
    """The policy's, or the argument."""
    kind: _Kind
    may_be_none: bool
    default: Any
    mask: Callable[[Any], str] | None = None
    """Returns what may be shown of a value, where not all of it may."""

    @property
    def sets(self) -> str:
        """What a programmer calls it: `QueuePolicy.capacity`."""
        return f"{self.owner.__name__}.{self.field}" if self.owner else self.field

    @property
    def takes(self) -> str:
        """What may stand in it, in words."""
        return f"{self.kind.meaning}, or none" if self.may_be_none else self.kind.meaning

    def read(self, text: str) -> Any:
        """Return the value that a text says.

        Raises:
            ValueError: It says none; the message has the variable's name.
        """
        if self.may_be_none and text.lower() == "none":
            return None
        try:
            return self.kind.read(text)
        except (ValueError, KeyError):
            given = "" if self.mask else f", not {text!r}"
            raise ValueError(f"{self.name} must be {self.takes}{given}") from None

    def shown(self, value: Any) -> Any:
        """Return a value with what is secret of it masked."""
        return value if self.mask is None or not value else self.mask(value).strip("'")

    def of(self, policies: Mapping[str, Any]) -> Any:
        """Return the value in force, where `policies` are the client's arguments."""
        holder = policies[self.argument]
        if self.owner is None:
            return holder
        return getattr(holder.breaker if self.owner is BreakerPolicy else holder, self.field)


def _one_of(kind: type[enum.StrEnum]) -> _Kind:
    """Return how a choice is read: in any case, as operators write it."""
    by_lower = {member.value.lower(): member for member in kind}
    return _Kind(lambda text: by_lower[text.lower()], f"one of {', '.join(kind)}")


def _headers(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


_KINDS: Final[Mapping[str, _Kind]] = {
    "int": _Kind(int, "a whole number"),
    "float": _Kind(float, "a number"),
    "str": _Kind(str, "text"),
    "bool": _Kind(lambda text: _SWITCH[text.lower()], f"one of {', '.join(_SWITCH)}"),
    "Mapping[str, str]": _Kind(_headers, "Name=value,Name=value"),
    **{kind.__name__: _one_of(kind) for kind in (Coalescing, OrderIdField, Overflow, Region)},
}
"""By a field's annotation. What is none of them is an object, and no text can say it."""


def _of_argument(name: str, kind: str, default: object) -> Variable:
    return Variable(
        name=f"ALHENA_{name.upper()}",
        argument=name,
        owner=None,
        field=name,
        kind=_KINDS[kind],
        may_be_none=False,
        default=default,
    )


def _of_policy(argument: str, owner: type[Any], prefix: str = "") -> Iterator[Variable]:
    defaults = owner()
    for field in attrs.fields(owner):
        annotation = str(field.type)
        kind = annotation.removesuffix(" | None")
        if kind == BreakerPolicy.__name__:
            yield from _of_policy(argument, BreakerPolicy, "breaker_")
        elif kind in _KINDS:
            name = prefix + _FULLER_NAMES.get(field.name, field.name)
            yield Variable(
                name=f"ALHENA_{name.upper()}",
                argument=argument,
                owner=owner,
                field=field.name,
                kind=_KINDS[kind],
                may_be_none=kind != annotation,
                default=getattr(defaults, field.name),
                mask=field.repr if callable(field.repr) else None,
            )


VARIABLES: Final = (
    _of_argument("company_key", "str", None),
    _of_argument("region", "Region", Region.US),
    _of_argument("base_url", "str", None),
    _of_argument("journal", "str", None),
    _of_argument("enabled", "bool", default=True),
    _of_argument("coalescing", "Coalescing", Coalescing.LATEST),
    *(one for argument, owner in POLICIES.items() for one in _of_policy(argument, owner)),
)
"""All that `AlhenaClient.from_env` reads."""


def variables_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is set; an empty variable counts as unset."""
    return {name: text.strip() for name, text in environ.items() if text.strip()}


def policy_from(argument: str, given: Any, texts: Mapping[str, str]) -> Any:
    """Return a policy on which the variables of its fields are set.

    Args:
        argument: Which of the client's policies.
        given: The one that the code gave; None: the defaults. What is no policy comes back as it
            is: the client refuses it.
        texts: All variables.

    Raises:
        ValueError: One cannot be read, or cannot work; the message names it.
    """
    read = {
        one: one.read(texts[one.name])
        for one in VARIABLES
        if one.argument == argument and one.name in texts
    }
    policy = POLICIES[argument]() if given is None else given
    if not read or not isinstance(policy, POLICIES[argument]):
        return given
    fields = {one.field: value for one, value in read.items() if one.owner is not BreakerPolicy}
    breaker = {one.field: value for one, value in read.items() if one.owner is BreakerPolicy}
    try:
        if breaker:
            fields["breaker"] = attrs.evolve(policy.breaker, **breaker)
        return attrs.evolve(policy, **fields)
    except (ValueError, TypeError) as error:
        raise named_error(error, read) from None


def named_error(error: Exception, read: Mapping[Variable, Any]) -> ValueError:
    """Return a policy's complaint under the names of the variables that it speaks of."""
    said = [one.name for one in read if re.search(rf"\b{one.field}\b", str(error))]
    names = " or ".join(said or [one.name for one in read])
    return ValueError(f"{names} cannot work: {error}")
