"""What a shop records: the visitor, the two kinds of event, and every rule they must meet.

An event that breaks a rule is refused where it is built, with `InvalidEventError`: it names the
field, the rule and the value's type, never the value. The rules are the vendor's; where the
vendor is silent, the bounds are ours and stand here as constants.
"""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import attrs

from alhena_async.errors import InvalidEventError

__all__ = [
    "CartEvent",
    "CartEventType",
    "CheckoutEvent",
    "Event",
    "LineItem",
    "Number",
    "Visitor",
]

Number = int | float | Decimal
"""Money and quantities. A `Decimal` arrives at the API with the digits it had."""

MAX_FINGERPRINT_CHARACTERS: Final = 256
NUMBER_BOUND: Final = 10**15
MAX_DECIMAL_PLACES: Final = 9

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_log = logging.getLogger("alhena_async")
_fields_warned_of: set[str] = set()


class CartEventType(enum.StrEnum):
    """What happened to a product in a cart, in the API's own words. Case matters."""

    ITEM_ADDED = "ITEM_ADDED"
    QUANTITY_INCREASED = "QUANTITY_INCREASED"
    QUANTITY_DECREASED = "QUANTITY_DECREASED"
    ITEM_REMOVED = "ITEM_REMOVED"


_TYPES: Final[dict[str, CartEventType]] = {kind.value: kind for kind in CartEventType}


def _to_type(given: CartEventType | str) -> CartEventType:
    try:
        return _TYPES[given]
    except (KeyError, TypeError):
        rule = f"must be one of {', '.join(CartEventType)}, in exactly this spelling"
        raise InvalidEventError("type", rule, _type_name(given)) from None


def _to_lines(given: Iterable[LineItem]) -> tuple[LineItem, ...]:
    lines: Any = given
    if isinstance(lines, Iterable) and not isinstance(lines, str | bytes):
        return tuple(lines)
    raise InvalidEventError("line_items", "must be a list of LineItem", _type_name(given))


@attrs.frozen(kw_only=True, weakref_slot=False, cache_hash=True, repr=False)
class Visitor:
    """A visitor of the shop, as the chat widget in their browser knows them.

    Both values come from the page: `gleenWidget.getFingerprint()` and `.getFAQFingerprint()`.
    Neither is ever invented here, nor copied from the other. They are a browser's claim: good to
    attribute revenue by, never to identify anyone by. They stay out of `repr` and of the log.

    Args:
        fingerprint: Non-empty text of at most 256 characters, none of them a control character.
            The vendor calls it a UUID: the first that is none is warned of in the log, once.
        faq_fingerprint: The same rule.

    Raises:
        InvalidEventError: One of the two breaks the rule.
    """

    fingerprint: str
    faq_fingerprint: str

    def __attrs_post_init__(self) -> None:
        _check_fingerprint("fingerprint", self.fingerprint)
        _check_fingerprint("faq_fingerprint", self.faq_fingerprint)

    def __repr__(self) -> str:
        return "Visitor(fingerprint=…, faq_fingerprint=…)"


@attrs.frozen(kw_only=True, weakref_slot=False)
class LineItem:
    """One line of an order.

    Args:
        product_id: The shop's own product identifier, non-empty.
        product_name: What people call it, non-empty.
        quantity: How many or how much, more than 0; fractions are for shops that sell by weight.
        value: The line's total (price x quantity), 0 or more.
        currency: ISO 4217, three letters A-Z.

    Raises:
        InvalidEventError: A field breaks its rule.
    """

    product_id: str
    product_name: str
    quantity: Number
    value: Number
    currency: str

    def __attrs_post_init__(self) -> None:
        _check_product(self)
        if self.quantity == 0:
            raise InvalidEventError("quantity", "must be more than 0", _type_name(self.quantity))


@attrs.frozen(kw_only=True, weakref_slot=False)
class CartEvent:
    """Something happened to one product in a visitor's cart.

    Args:
        visitor: Whose cart it is.
        type: A `CartEventType`, or its exact name.
        product_id: The shop's own product identifier, non-empty.
        product_name: What people call it, non-empty.
        value: The price after discounts, 0 or more.
        currency: ISO 4217, three letters A-Z.
        quantity: How many are in the cart AFTER the event; 0 only for `ITEM_REMOVED`.
        source: A free word on where the event comes from; None (default) sends none.

    Raises:
        InvalidEventError: A field breaks its rule.
    """

    visitor: Visitor
    type: CartEventType = attrs.field(converter=_to_type)
    product_id: str
    product_name: str
    value: Number
    currency: str
    quantity: Number
    source: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.visitor.__class__ is not Visitor:
            _check_visitor(self.visitor)
        _check_product(self)
        if self.quantity == 0 and self.type is not CartEventType.ITEM_REMOVED:
            rule = "is the quantity AFTER the event: 0 only for ITEM_REMOVED"
            raise InvalidEventError("quantity", rule, _type_name(self.quantity))
        if self.source is not None:
            _check_text("source", self.source)

    @classmethod
    def for_change(
        cls,
        visitor: Visitor,
        *,
        before: Number,
        after: Number,
        product_id: str,
        product_name: str,
        value: Number,
        currency: str,
        source: str | None = None,
    ) -> CartEvent:
        """Return the event that tells of a change from one quantity to another.

        From 0 it is `ITEM_ADDED`, to 0 `ITEM_REMOVED`, else `QUANTITY_INCREASED` or
        `QUANTITY_DECREASED`; its `quantity` is `after`.

        Args:
            visitor: Whose cart it is.
            before: The quantity before the change, 0 or more.
            after: The quantity after it, 0 or more, other than `before`.
            product_id: As in `CartEvent`.
            product_name: As in `CartEvent`.
            value: As in `CartEvent`.
            currency: As in `CartEvent`.
            source: As in `CartEvent`.

        Raises:
            InvalidEventError: A field breaks its rule, or nothing changed.
        """
        _check_number("before", before)
        _check_number("after", after)
        return cls(
            visitor=visitor,
            type=_type_of_change(before, after),
            product_id=product_id,
            product_name=product_name,
            value=value,
            currency=currency,
            quantity=after,
            source=source,
        )


@attrs.frozen(kw_only=True, weakref_slot=False)
class CheckoutEvent:
    """A visitor's completed order.

    Args:
        visitor: Who ordered.
        value: The order's total after discounts and taxes, 0 or more. It is not checked against
            the lines: shipping, tax and discounts differ.
        currency: ISO 4217, three letters A-Z.
        line_items: What was ordered, at least one line.
        order_id: The shop's own order number, non-empty. The API records one only once, which
            makes a retry safe: give it whenever there is one.

    Raises:
        InvalidEventError: A field breaks its rule.
    """

    visitor: Visitor
    value: Number
    currency: str
    line_items: tuple[LineItem, ...] = attrs.field(converter=_to_lines)
    order_id: str | None = None

    def __attrs_post_init__(self) -> None:
        _check_visitor(self.visitor)
        _check_number("value", self.value)
        _check_currency(self.currency)
        if not self.line_items:
            raise InvalidEventError("line_items", "must hold at least one LineItem", "empty tuple")
        lines: tuple[object, ...] = self.line_items
        for place, line in enumerate(lines):
            if not isinstance(line, LineItem):
                rule = "must be a LineItem"
                raise InvalidEventError(f"line_items[{place}]", rule, _type_name(line))
        if self.order_id is not None:
            _check_text("order_id", self.order_id)


Event = CartEvent | CheckoutEvent
"""What a client accepts."""


def _type_of_change(before: Number, after: Number) -> CartEventType:
    if before == after:
        rule = "must differ from before: nothing changed, so there is no event"
        raise InvalidEventError("after", rule, _type_name(after))
    if before == 0:
        return CartEventType.ITEM_ADDED
    if after == 0:
        return CartEventType.ITEM_REMOVED
    return CartEventType.QUANTITY_INCREASED if after > before else CartEventType.QUANTITY_DECREASED


def _check_product(item: CartEvent | LineItem) -> None:
    """Check the fields that a cart event and a line item share."""
    # Every event of every shop comes through here: plain values pass without another call.
    text: Any = item.product_id
    if not (text.__class__ is str and text and text.isascii()):
        _check_text("product_id", text)
    text = item.product_name
    if not (text.__class__ is str and text and text.isascii()):
        _check_text("product_name", text)
    number: Any = item.value
    kind = number.__class__
    if not ((kind is float or kind is int) and 0 <= number < NUMBER_BOUND):
        _check_number("value", number)
    number = item.quantity
    kind = number.__class__
    if not ((kind is float or kind is int) and 0 <= number < NUMBER_BOUND):
        _check_number("quantity", number)
    _check_currency(item.currency)


def _check_visitor(visitor: object) -> None:
    if not isinstance(visitor, Visitor):
        raise InvalidEventError("visitor", "must be a Visitor", _type_name(visitor))


def _check_text(field: str, text: object) -> None:
    if not isinstance(text, str) or not text:
        raise InvalidEventError(field, "must be non-empty text", _type_name(text))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            rule = "must be text that UTF-8 can carry: it holds half of a surrogate pair"
            raise InvalidEventError(field, rule, _type_name(text)) from None


def _check_fingerprint(field: str, text: object) -> None:
    _check_text(field, text)
    assert isinstance(text, str)  # noqa: S101  for mypy; _check_text has refused anything else
    if len(text) > MAX_FINGERPRINT_CHARACTERS:
        rule = f"must have at most {MAX_FINGERPRINT_CHARACTERS} characters"
        raise InvalidEventError(field, rule, _type_name(text))
    if _CONTROL_CHARACTER.search(text):
        raise InvalidEventError(field, "must hold no control character", _type_name(text))
    if field not in _fields_warned_of and not _UUID.fullmatch(text):
        _fields_warned_of.add(field)
        _log.warning(
            "a %s is no UUID, which the vendor's page says it is: pass on what the chat widget "
            "in the browser returned (said once)",
            field,
        )


def _check_currency(currency: object) -> None:
    if not (
        isinstance(currency, str)
        and len(currency) == 3
        and currency.isascii()
        and currency.isalpha()
        and currency.isupper()
    ):
        raise InvalidEventError("currency", "must be three letters A-Z", _type_name(currency))


def _check_number(field: str, number: Any) -> None:
    broken = _broken_rule(number)
    if broken is not None:
        raise InvalidEventError(field, broken, _type_name(number))


def _broken_rule(number: Any) -> str | None:
    if isinstance(number, bool) or not isinstance(number, Number):
        return "must be a number: int, float or Decimal"
    value: Any = number
    finite = value.is_finite() if isinstance(value, Decimal) else abs(value) < float("inf")
    if not finite:
        return "must be a finite number"
    if value < 0:
        return "must be 0 or more"
    if value >= NUMBER_BOUND:
        return "must be below 1e15"
    if isinstance(value, Decimal) and _decimal_places(value) > MAX_DECIMAL_PLACES:
        return f"must have at most {MAX_DECIMAL_PLACES} decimal places"
    return None


def _decimal_places(decimal: Decimal) -> int:
    exponent = decimal.as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101  for mypy; only a number that is not finite has none
    return -exponent


def _type_name(value: object) -> str:
    return type(value).__name__
