"""The stored form: an event as the flat dict of JSON values that the API is sent.

One converter serves requests, files, messages, and whoever asks an event for its `to_dict`. It
passes values on as they are: what judges them is the rules of `events.py`, whose kinds register
here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Final, Self

import cattrs

from alhena_async._json import RepeatedNameError, dumps, strict_loads
from alhena_async.errors import InvalidEventError, merged, placed

__all__ = ["STRUCTURE", "UNSTRUCTURE", "Storable", "converter", "json_schema", "parse", "register"]

converter: Final = cattrs.Converter(detailed_validation=False)

STRUCTURE: Final[dict[type, Callable[[Any], Any]]] = {}
"""Of each kind: its stored form -> the object, whatever else the form holds."""
UNSTRUCTURE: Final[dict[type, Callable[[Any], dict[str, Any]]]] = {}
"""Of each kind: the object -> its stored form."""

_NAMES: Final[dict[type, dict[str, type | None]]] = {}
"""The fields of each kind's stored form, and of what kind a list's items are."""

_MOST_UNKNOWN: Final = 20
"""Unknown fields that are told of."""
_MOST_SHOWN: Final = 80
"""Characters of an unknown field's name."""
_CURES: Final = {
    "company_key": ": the client has it",
    "faq_fingerprint": ": it is called user_faq_fingerprint here",
    "fingerprint": ": it is called user_fingerprint here",
    "orderId": ": it is called order_id here",
    "visitor": ": give user_fingerprint and user_faq_fingerprint",
}


class Storable:
    """What can be had as data, and be made of it."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form: a flat dict in the API's own field names.

        It is what a request carries, without the company key. What is None is left out. Values are
        text, `int`, `float` and `Decimal`, and of an order's lines a list of such dicts: a
        `Decimal` keeps its digits, which `json.dumps` refuses and `to_json` writes.
        """
        return UNSTRUCTURE[_kind_of(self.__class__)](self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the object of a stored form.

        Args:
            stored: What `to_dict` gave, or anything of that form: every field by its name there.

        Raises:
            InvalidEventError: Fields are missing, unknown, or break their rules; all are told.
        """
        kind = _kind_of(cls)
        errors = [*islice(_unknown_fields(kind, stored), _MOST_UNKNOWN)]
        try:
            made: Self = STRUCTURE[kind](stored)
        except InvalidEventError as error:
            errors.append(error)
        if errors:
            raise merged(errors, subject=cls.__name__)
        return made

    def to_json(self) -> str:
        """Return the stored form as compact JSON, each number with the digits it has."""
        return dumps(self.to_dict()).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the object of a stored form in JSON; a number keeps the digits it has there.

        Args:
            text: A JSON object as `to_json` writes it; bytes are UTF-8.

        Raises:
            InvalidEventError: It is no JSON object, or one that `from_dict` refuses.
        """
        return cls.from_dict(parse(text))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Tell pydantic how to validate and to write one, should it ask."""
        from pydantic_core import core_schema  # noqa: PLC0415  whoever calls this has it

        return core_schema.no_info_plain_validator_function(
            cls._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(
                _serialized, info_arg=True
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _core_schema: Any, _handler: Any) -> dict[str, Any]:
        """Tell pydantic, and so FastAPI's OpenAPI, what one looks like."""
        return json_schema(cls.__name__)

    @classmethod
    def _validated(cls, given: Any) -> Self:
        return given if isinstance(given, cls) else cls.from_dict(given)


def register(
    kind: type,
    required: Iterable[str],
    *,
    optional: Iterable[str] = (),
    items: Mapping[str, type] | None = None,
    structure: Callable[[Mapping[str, Any]], Any],
    unstructure: Callable[[Any], dict[str, Any]],
) -> None:
    """Make a kind storable.

    Args:
        kind: What is made and stored.
        required: The fields of its stored form.
        optional: Those that may be left out.
        items: Of those that are lists, the kind of their items.
        structure: Makes one of a stored form with all required fields. An `InvalidEventError` may
            stand for a value, and is to be told with what is wrong with the others.
        unstructure: Returns the stored form.
    """
    required = tuple(required)
    missing = {
        name: InvalidEventError(name, "is missing", "nothing", subject=kind.__name__)
        for name in required
    }

    def completed(stored: object) -> Any:
        if not isinstance(stored, Mapping):
            called = type(stored).__name__
            raise InvalidEventError("", "must be an object", called, subject=kind.__name__)
        return structure({**missing, **stored})

    STRUCTURE[kind] = completed
    UNSTRUCTURE[kind] = unstructure
    _NAMES[kind] = {**dict.fromkeys((*required, *optional)), **(items or {})}


def _unknown_fields(kind: type, stored: object) -> Iterator[InvalidEventError]:
    """Tell of each field of a stored form, and of the forms in it, that its kind does not have."""
    if not isinstance(stored, Mapping):
        return
    names = _NAMES[kind]
    for name, value in stored.items():
        if name not in names:
            yield _unknown(kind, str(name), value)
        elif (part := names[name]) is not None and isinstance(value, list | tuple):
            for place, one in enumerate(value):
                for error in _unknown_fields(part, one):
                    yield placed(f"{name}[{place}]", error, kind.__name__)


def _unknown(kind: type, name: str, value: object) -> InvalidEventError:
    rule = f"is no field of a {kind.__name__}{_CURES.get(name, '')}"
    return InvalidEventError(_shown(name), rule, type(value).__name__)


def _shown(name: str) -> str:
    return (
        name if name.isidentifier() and len(name) <= _MOST_SHOWN else json.dumps(name[:_MOST_SHOWN])
    )


def _serialized(value: Storable, info: Any) -> Any:
    """For pydantic, whose JSON would have a `Decimal` as text: there it is a float."""
    return _plain(value.to_dict()) if info.mode_is_json() else value.to_dict()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return float(value) if isinstance(value, Decimal) else value


@cache
def _schemas() -> dict[str, Any]:
    document = json.loads(files(__package__).joinpath("schema.json").read_bytes())
    definitions: dict[str, Any] = document["$defs"]
    return definitions


def json_schema(name: str) -> dict[str, Any]:
    """Return what `schema.json` says of one thing, complete in itself."""
    resolved: dict[str, Any] = _resolved(_schemas()[name])
    return resolved


def _resolved(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_resolved(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return json_schema(schema["$ref"].removeprefix("#/$defs/"))
    return {name: _resolved(one) for name, one in schema.items()}


def _kind_of(kind: type) -> type:
    """Return the registered kind that a class is.

    Raises:
        TypeError: It is a child of one, which has no stored form of its own.
    """
    if kind not in STRUCTURE:
        raise TypeError(f"{kind.__name__} has no stored form: events are not to be inherited from")
    return kind


def parse(text: str | bytes) -> Any:
    """Return what a text of JSON says, each number with the digits it has.

    Raises:
        InvalidEventError: It is none.
    """
    try:
        return strict_loads(text.decode() if isinstance(text, bytes | bytearray) else text)
    except RepeatedNameError as error:
        raise InvalidEventError(_shown(error.args[0]), "is there twice", "JSON") from None
    except TypeError:
        rule = "must be in text or bytes"
    except UnicodeDecodeError:
        rule = "must be UTF-8"
    except json.JSONDecodeError as error:
        rule = f"cannot be read: {error.msg} at {error.pos + 1}"
    except (ValueError, RecursionError):  # NaN and Infinity, ints of thousands of digits, depth
        rule = "cannot be read: a number or a list in it fits nowhere"
    raise InvalidEventError("", rule, type(text).__name__, subject="JSON")
