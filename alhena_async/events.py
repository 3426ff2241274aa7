"""What a shop records: the visitor, the two kinds of event, and every rule they must meet.

An event that breaks rules is refused where it is built, with `InvalidEventError`: it names each
field, its rule and what to do, never a value that may be personal. The rules are the vendor's;
where the vendor is silent, the bounds are ours and stand here as constants.
"""

from __future__ import annotations

import enum
import logging
import numbers
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsFloat, SupportsIndex

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from alhena_async._json import MAX_DECIMAL_PLACES
from alhena_async._stored import STRUCTURE, Storable, converter, parse, register
from alhena_async.errors import NOTHING_CHANGED, InvalidEventError, merged, placed, renamed
from alhena_async.money import EXPONENTS

__all__ = [
    "CartEvent",
    "CartEventType",
    "CheckoutEvent",
    "Event",
    "LineItem",
    "Number",
    "Visitor",
    "event_from_dict",
    "event_from_json",
]

Number = int | float | Decimal
"""Money and quantities. A `Decimal` arrives at the API with the digits it had."""
Numeric = int | float | Decimal | SupportsFloat
"""What is taken for a number: also numpy's scalars, and all else of `numbers.Real`, but no bool."""
Id = str | int | SupportsIndex
"""What is taken for an id: text, or a whole number, which is sent as text."""

MAX_FINGERPRINT_CHARACTERS: Final = 256
MAX_TEXT_CHARACTERS: Final = 20_000
"""Of each id and each name: what waits is bounded in bytes only if these are."""
MAX_SOURCE_CHARACTERS: Final = 256
MAX_LINE_ITEMS: Final = 5_000
MOST_BAD_LINES: Final = 20
"""Line items of an order that are told to be wrong: of thousands, no more would help."""
NUMBER_BOUND: Final = 10**15

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LAST_PLACE: Final = Decimal(1).scaleb(-MAX_DECIMAL_PLACES)
_EXACT: Final = Context(prec=40)  # for numbers below the bound, of so many places: nothing is cut

_log = logging.getLogger("alhena_async")
_fields_warned_of: set[str] = set()


class CartEventType(enum.StrEnum):
    """What happened to a product in a cart, in the API's own words. Case matters."""

    ITEM_ADDED = "ITEM_ADDED"
    QUANTITY_INCREASED = "QUANTITY_INCREASED"
    QUANTITY_DECREASED = "QUANTITY_DECREASED"
    ITEM_REMOVED = "ITEM_REMOVED"


CartEventTypeName = Literal[
    "ITEM_ADDED", "QUANTITY_INCREASED", "QUANTITY_DECREASED", "ITEM_REMOVED"
]

_TYPES: Final[dict[str, CartEventType]] = {kind.value: kind for kind in CartEventType}
_REMOVED: Final = CartEventType.ITEM_REMOVED


def _to_lines(given: Iterable[LineItem]) -> Any:
    """Return the lines; what is no list of them is returned as it is, for its rule to refuse."""
    lines: object = given
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        return lines
    made: list[LineItem] = []
    try:
        made.extend(lines)
    except InvalidEventError as error:  # a generator's: the line itself cannot know its place
        return refused_lines({len(made): error})
    return tuple(made)


if TYPE_CHECKING:

    def _to_number(given: Numeric) -> Number: ...
    def _to_id(given: Id) -> str: ...
    def _to_optional_id(given: Id | None) -> str | None: ...
else:
    # The rules convert what they pass: a converter would be a call for each field of every event.
    _to_number = _to_id = _to_optional_id = None


@attrs.frozen(kw_only=True, weakref_slot=False, cache_hash=True, repr=False)
class Visitor(Storable):
    """A visitor of the shop, as the chat widget in their browser knows them.

    Both values come from the page: `gleenWidget.getFingerprint()` and `.getFAQFingerprint()`.
    Neither is ever invented here, nor copied from the other. They are a browser's claim: good to
    attribute revenue by, never to identify anyone by. They stay out of `repr` and of the log.

    Args:
        fingerprint: Non-empty text of at most 256 characters, none of them a control character.
            The vendor calls it a UUID: the first that is none is warned of in the log, once.
        faq_fingerprint: The same rule.

    Raises:
        InvalidEventError: One of the two breaks the rule, or both do.
    """

    fingerprint: str
    faq_fingerprint: str

    def __attrs_post_init__(self) -> None:
        if not (_is_uuid(self.fingerprint) and _is_uuid(self.faq_fingerprint)):
            _check(self, _VISITOR_RULES)

    def __repr__(self) -> str:
        return "Visitor(fingerprint=…, faq_fingerprint=…)"


@attrs.frozen(kw_only=True, weakref_slot=False)
class LineItem(Storable):
    """One line of an order.

    Args:
        product_id: The shop's own product identifier, text or an int; not empty, and at most 20,000
            characters.
        product_name: What people call it; not empty, and at most 20,000 characters.
        quantity: How many or how much, more than 0; fractions are for shops that sell by weight.
        value: The line's total (price x quantity) in major units: 19.99, not 1999; 0 or more.
            `alhena_async.money.from_minor` converts.
        currency: ISO 4217, three letters A-Z.

    Raises:
        InvalidEventError: Fields break their rules.
    """

    product_id: str = attrs.field(converter=_to_id)
    product_name: str
    quantity: Number = attrs.field(converter=_to_number)
    value: Number = attrs.field(converter=_to_number)
    currency: str

    def __attrs_post_init__(self) -> None:
        if not (
            _is_plain(self.product_id, self.product_name, self.value, self.quantity, self.currency)
            and self.quantity
        ):
            _check(self, _LINE_RULES)


@attrs.frozen(kw_only=True, weakref_slot=False, init=False)
class CartEvent(Storable):
    """Something happened to one product in a visitor's cart.

    Args:
        visitor: Whose cart it is.
        type: A `CartEventType`, or its exact name.
        product_id: The shop's own product identifier, text or an int; not empty, and at most 20,000
            characters.
        product_name: What people call it; not empty, and at most 20,000 characters.
        value: The price after discounts in major units: 19.99, not 1999; 0 or more.
            `alhena_async.money.from_minor` converts.
        currency: ISO 4217, three letters A-Z.
        quantity: How many are in the cart AFTER the event, not how many were added; 0 only for
            `ITEM_REMOVED`.
        source: A free word on where the event comes from, at most 256 characters; None (default)
            sends none.

    Raises:
        InvalidEventError: Fields break their rules.
    """

    visitor: Visitor
    type: CartEventType
    product_id: str
    product_name: str
    value: Number
    currency: str
    quantity: Number
    source: str | None = None

    def __init__(
        self,
        *,
        visitor: Visitor,
        type: CartEventType | CartEventTypeName,  # noqa: A002  the API's word
        product_id: Id,
        product_name: str,
        value: Numeric,
        currency: str,
        quantity: Numeric,
        source: str | None = None,
    ) -> None:
        try:
            kind = _TYPES[type]
        except (KeyError, TypeError):
            kind = None
        if (
            kind is not None
            and (source is None or _is_plain_source(source))
            and visitor.__class__ is Visitor
            and _is_plain(product_id, product_name, value, quantity, currency)
            and (quantity or kind is _REMOVED)
            and self.__class__ is CartEvent
        ):
            fields: Any = self
            _become(fields, "__class__", _OpenCart)
            fields.visitor = visitor
            fields.type = kind
            fields.product_id = product_id
            fields.product_name = product_name
            fields.value = value
            fields.currency = currency
            fields.quantity = quantity
            fields.source = source
            fields.__class__ = CartEvent
        else:
            given = {
                "visitor": visitor,
                "type": kind or type,
                "product_id": product_id,
                "product_name": product_name,
                "value": value,
                "currency": currency,
                "quantity": quantity,
                "source": source,
            }
            _keep(self, given, _CART_RULES)

    def __attrs_post_init__(self) -> None:
        """Hold a child to the rules for which attrs makes an `__init__`."""
        CartEvent.__init__(self, **{field: getattr(self, field) for field in _CART_RULES})

    @classmethod
    def for_change(
        cls,
        visitor: Visitor,
        *,
        before: Numeric,
        after: Numeric,
        product_id: Id,
        product_name: str,
        value: Numeric,
        currency: str,
        source: str | None = None,
    ) -> CartEvent:
        """Return the event that tells of a change from one quantity to another.

        From 0 it is `ITEM_ADDED`, to 0 `ITEM_REMOVED`, otherwise `QUANTITY_INCREASED`
        or `QUANTITY_DECREASED`; its `quantity` is `after`.

        Args:
            visitor: Whose cart it is.
            before: The quantity before the change, 0 or more.
            after: The quantity after it, 0 or more, other than `before`.
            product_id: As in `CartEvent`.
            product_name: As in `CartEvent`.
            value: As in `CartEvent`: in major units, 19.99 and not 1999.
            currency: As in `CartEvent`.
            source: As in `CartEvent`.

        Raises:
            InvalidEventError: Fields break their rules; or nothing changed, which
                `AlhenaClient.reporting` does not count as a mistake.
        """
        kind = _type_of_change(before, after)
        return cls(
            visitor=visitor,
            type=kind,
            product_id=product_id,
            product_name=product_name,
            value=value,
            currency=currency,
            quantity=after if kind.__class__ is CartEventType else 0,
            source=source,
        )

    @classmethod
    def changes(
        cls,
        visitor: Visitor,
        *,
        before: Iterable[LineItem | Mapping[str, Any] | Any],
        after: Iterable[LineItem | Mapping[str, Any] | Any],
        source: str | None = None,
    ) -> list[CartEvent]:
        """Return the events that lead from one state of a whole cart to another.

        For shops that know what is in the cart, and not what was done to it. What has the same
        quantity in both gives no event; the others come as removals, then changes, then
        additions, each in the order of its cart. Lines of the same product count together, under
        the last one's name, value and currency.

        Args:
            visitor: Whose cart it is.
            before: The cart's lines before, empty for a new one. A line is anything with
                `product_id`, `product_name`, `value`, `currency` and `quantity`, as keys or as
                attributes. Its `value` is the price of one, after discounts, in major units: 19.99,
                not 1999; of a `LineItem`, whose `value` is the line's total, it is taken from that.
            after: The lines after, empty for a cart that was emptied.
            source: As in `CartEvent`.

        Raises:
            InvalidEventError: Lines of changed products break rules; all of them are told.
        """
        return _changes(visitor, _Cart("before", before), _Cart("after", after), source)


class _OpenCart(Storable):
    """A cart event while its fields are set: in a frozen class each takes a call.

    That would be half of all the time that making one takes.
    """

    __slots__ = CartEvent.__slots__


@attrs.frozen(kw_only=True, weakref_slot=False)
class CheckoutEvent(Storable):
    """A visitor's completed order.

    Args:
        visitor: Who ordered.
        value: The order's total after discounts and taxes in major units: 19.99, not 1999; 0 or
            more. `alhena_async.money.from_minor` converts. It is not checked against the lines:
            shipping, tax and discounts differ.
        currency: ISO 4217, three letters A-Z.
        line_items: What was ordered, at least one line and at most 5,000. An error in a generator
            of lines tells which line it is.
        order_id: The shop's own order number, text or an int; not empty, and at most 20,000
            characters. The API records one only once, which makes a retry safe: give it whenever
            there is one.

    Raises:
        InvalidEventError: Fields break their rules.
    """

    visitor: Visitor
    value: Number = attrs.field(converter=_to_number)
    currency: str
    line_items: tuple[LineItem, ...] = attrs.field(converter=_to_lines)
    order_id: str | None = attrs.field(default=None, converter=_to_optional_id)

    def __attrs_post_init__(self) -> None:
        if not (
            self.visitor.__class__ is Visitor
            and _is_plain_number(self.value)
            and self.currency.__class__ is str
            and self.currency in EXPONENTS
            and self.line_items.__class__ is tuple
            and 0 < len(self.line_items) <= MAX_LINE_ITEMS
            and all(line.__class__ is LineItem for line in self.line_items)
            and (self.order_id is None or _is_plain_text(self.order_id))
            and (self.order_id is None or len(self.order_id) <= MAX_TEXT_CHARACTERS)
        ):
            _check(self, _CHECKOUT_RULES)


Event = CartEvent | CheckoutEvent
"""What a client accepts."""


def event_from_dict(stored: Mapping[str, Any]) -> Event:
    """Return the event of a stored form, of either kind: one with `line_items` is a checkout.

    Args:
        stored: What `to_dict` gave, or anything of that form.

    Raises:
        InvalidEventError: Fields are missing, unknown, or break their rules; all are told.
    """
    return _kind_of(stored).from_dict(stored)


def event_from_json(text: str | bytes) -> Event:
    """Return the event of a stored form in JSON, as `event_from_dict` does.

    Args:
        text: A JSON object as `to_json` writes it; bytes are UTF-8.

    Raises:
        InvalidEventError: It is no JSON object, or one that `event_from_dict` refuses.
    """
    return event_from_dict(parse(text))


def _kind_of(stored: object) -> type[CartEvent | CheckoutEvent]:
    is_checkout = isinstance(stored, Mapping) and "line_items" in stored
    return CheckoutEvent if is_checkout else CartEvent


def refused_lines(
    errors: Mapping[int, InvalidEventError], line_count: int | None = None
) -> InvalidEventError:
    """Return one error for all line items that could not be made.

    Args:
        errors: Each line's, by its place from 0; of `MOST_BAD_LINES` the last one was looked at.
        line_count: How many lines there are, where that is known.
    """
    subject = "CheckoutEvent"
    told = [placed(f"line_items[{place}]", errors[place], subject) for place in errors]
    if len(errors) >= MOST_BAD_LINES:
        rule = f"are not looked at behind the first {MOST_BAD_LINES} that are wrong"
        told.append(InvalidEventError("line_items", rule, "list", subject=subject))
    return merged(told, line_count=line_count)


def exact(number: Number) -> Decimal:
    """Return the number that a value's digits say: of 19.9 it is `Decimal("19.9")`."""
    if isinstance(number, Decimal):
        return number
    return Decimal(float.__repr__(number) if isinstance(number, float) else int(number))


# --- whole carts ----------------------------------------------------------------------------------


class _Cart:
    """One state of a cart.

    Args:
        side: `before` or `after`.
        lines: What is in it.
    """

    def __init__(self, side: str, lines: Iterable[object]) -> None:
        self.side = side
        self.quantities: dict[str, Number] = {}
        """How many there are of each product."""
        self.lines: dict[str, tuple[int, object]] = {}
        """The last line of each product, and its place from 0."""
        self.refusals: list[InvalidEventError] = []
        for place, line in enumerate(lines):
            try:
                self._add(place, line)
            except InvalidEventError as error:
                self.refusals.append(self.refusal_of(place, error))

    def refusal_of(self, place: int, error: InvalidEventError) -> InvalidEventError:
        """Return the error that says which line it is."""
        return placed(f"{self.side}[{place}]", error, "CartEvent")

    def _add(self, place: int, line: object) -> None:
        given = {name: _field_of(line, name) for name in _IN_CART_RULES}
        kept = _kept("CartEvent", given, _IN_CART_RULES)
        product_id, quantity = kept["product_id"], kept["quantity"]
        if quantity:  # a shop may leave a line of nothing
            known = self.quantities.get(product_id)
            self.quantities[product_id] = quantity if known is None else _sum(known, quantity)
            self.lines[product_id] = (place, line)


def _changes(visitor: Visitor, was: _Cart, now: _Cart, source: str | None) -> list[CartEvent]:
    _kept("CartEvent", {"visitor": visitor, "source": source}, _CART_RULES)
    before, after = was.quantities, now.quantities
    both = [one for one in after if one in before and exact(before[one]) != exact(after[one])]
    removed = [(was, one) for one in before if one not in after]
    added = [(now, one) for one in after if one not in before]
    events: list[CartEvent] = []
    refusals = [*was.refusals, *now.refusals]
    for cart, product_id in (*removed, *((now, one) for one in both), *added):
        place, line = cart.lines[product_id]
        try:
            event = CartEvent.for_change(
                visitor,
                before=before.get(product_id, 0),
                after=after.get(product_id, 0),
                product_id=product_id,
                product_name=_field_of(line, "product_name"),
                value=_price_of_one(line),
                currency=_field_of(line, "currency"),
                source=source,
            )
        except InvalidEventError as error:
            refusals.append(cart.refusal_of(place, error))
        else:
            events.append(event)
    if refusals:
        raise merged(refusals)
    return events


def _field_of(line: object, name: str) -> Any:
    """Return a line's value, or the error that stands for one that is missing."""
    missing = InvalidEventError(name, "is missing", "nothing", subject="CartEvent")
    if isinstance(line, Mapping):
        return line.get(name, missing)
    return getattr(line, name, missing)


def _sum(one: Number, other: Number) -> Number:
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return _EXACT.add(exact(one), exact(other))


def _price_of_one(line: object) -> Any:
    if not isinstance(line, LineItem) or line.quantity == 1:
        return _field_of(line, "value")
    price = _EXACT.divide(exact(line.value), exact(line.quantity))
    return price.quantize(_LAST_PLACE, context=_EXACT).normalize(_EXACT)


# --- rules: each returns the value to keep, or tells what is broken -------------------------------


class _BrokenRuleError(Exception):
    """A field breaks its rule; never leaves this module."""

    def __init__(self, rule: str, shown: str = "") -> None:
        super().__init__(rule, shown)
        self.rule = rule
        self.shown = shown


_Rule = Callable[[Any, Any], Any]
"""Called with all fields' values and the field's own."""

_become: Final = object.__setattr__  # for a class that lets nobody set anything

_is_ascii: Final = str.isascii  # of what is no text, a TypeError
_PLAIN_NUMBERS: Final = frozenset({float, int})


def _is_plain(product_id: Any, product_name: Any, value: Any, quantity: Any, currency: Any) -> bool:
    """Whether what both kinds have is as nearly every shop gives it, and so breaks no rule.

    Every event of every shop comes through here: what is neither text nor a number may do so by an
    error of the first method that it has not.
    """
    try:
        return (
            ((_is_ascii(product_id) and product_id > "!") or _is_plain_text(product_id))
            and ((_is_ascii(product_name) and product_name > "!") or _is_plain_text(product_name))
            # Neither is too long then.
            and len(product_id) + len(product_name) <= MAX_TEXT_CHARACTERS
            and (
                (type(value) in _PLAIN_NUMBERS and 0 <= value < NUMBER_BOUND)
                or _is_plain_number(value)
            )
            and (
                (type(quantity) in _PLAIN_NUMBERS and 0 <= quantity < NUMBER_BOUND)
                or _is_plain_number(quantity)
            )
            and type(currency) is str
            and currency in EXPONENTS
        )
    except TypeError:
        return False


def _is_plain_text(text: Any) -> bool:
    """Whether it is text that breaks no rule: what is more than "!" does not begin with a blank."""
    if text.__class__ is not str:
        return False
    if text.isascii():
        return bool(text > "!")
    try:
        return bool(text.encode()) and not text.isspace()
    except UnicodeEncodeError:
        return False


def _is_plain_source(source: Any) -> bool:
    """Whether it is a source that breaks no rule."""
    return _is_plain_text(source) and len(source) <= MAX_SOURCE_CHARACTERS


def _is_plain_number(number: Any) -> bool:
    """Whether it is a number that breaks no rule, and is kept as it is."""
    kind = number.__class__
    if kind is float or kind is int:
        return bool(0 <= number < NUMBER_BOUND)
    return (
        kind is Decimal
        and number.is_finite()
        and 0 <= number < NUMBER_BOUND
        and number.as_tuple().exponent >= -MAX_DECIMAL_PLACES
    )


def _is_uuid(text: Any) -> bool:
    """Whether it is what the vendor calls a fingerprint, and so breaks no rule."""
    return text.__class__ is str and _UUID.fullmatch(text) is not None


def _check(event: Any, rules: Mapping[str, _Rule]) -> None:
    """Keep what each rule makes of its field's value.

    Raises:
        InvalidEventError: Rules are broken; it tells of all.
    """
    _keep(event, {field: getattr(event, field) for field in rules}, rules)


def _keep(event: object, given: Mapping[str, Any], rules: Mapping[str, _Rule]) -> None:
    """Let an event have what each rule makes of a field's value.

    Raises:
        InvalidEventError: Rules are broken; it tells of all.
    """
    for field, value in _kept(type(event).__name__, given, rules).items():
        object.__setattr__(event, field, value)


def _kept(subject: str, given: Mapping[str, Any], rules: Mapping[str, _Rule]) -> dict[str, Any]:
    """Return what the rules make of values.

    An `InvalidEventError` may stand for a value that could not be made: it is told with the rest.

    Raises:
        InvalidEventError: Rules are broken; it tells of all.
    """
    kept: dict[str, Any] = {}
    refusals: list[InvalidEventError] = []
    for field, value in given.items():
        if isinstance(value, InvalidEventError):
            refusals.append(value)
            continue
        try:
            kept[field] = rules[field](given, value)
        except _BrokenRuleError as broken:
            facts = (field, broken.rule, type(value).__name__)
            refusals.append(InvalidEventError(*facts, subject=subject, shown=(broken.shown,)))
        except InvalidEventError as error:  # of line items
            refusals.append(error)
    if refusals:
        raise merged(refusals, subject=subject) from None
    return kept


def _type_of_change(before: Numeric, after: Numeric) -> Any:
    """Return the type of a change, or the error that stands for it and is told with the rest.

    Raises:
        InvalidEventError: Nothing changed.
    """
    was: Any = before
    now: Any = after
    if not (_is_plain_number(was) and _is_plain_number(now)):
        try:
            kept = _kept("CartEvent", {"before": was, "after": now}, _CHANGE_RULES)
        except InvalidEventError as error:
            return error
        was, now = kept["before"], kept["after"]
    if was == now:
        kind = type(after).__name__
        raise InvalidEventError("after", NOTHING_CHANGED, kind, subject="CartEvent")
    if was == 0:
        return CartEventType.ITEM_ADDED
    if now == 0:
        return _REMOVED
    return CartEventType.QUANTITY_INCREASED if now > was else CartEventType.QUANTITY_DECREASED


def _called(value: object) -> str:
    """Return what people call a value's type."""
    name = type(value).__name__
    return {"str": "text", "NoneType": "None"}.get(name, name)


def _visitor(_: object, given: object) -> Visitor:
    if isinstance(given, Visitor):
        return given
    cure = ": without one there is no event" if given is None else ""
    raise _BrokenRuleError(f"must be a Visitor, not {_called(given)}{cure}")


def _type(_: object, given: object) -> CartEventType:
    if isinstance(given, CartEventType):
        return given
    rule = f"must be one of {', '.join(CartEventType)}, in exactly this spelling"
    if not isinstance(given, str):
        raise _BrokenRuleError(f"{rule}, not {_called(given)}")
    meant = given.upper().replace(" ", "_").replace("-", "_")
    raise _BrokenRuleError(rule, f'"{given}"' if meant in _TYPES else "")


def _text(
    given: object,
    *,
    wanted: str,
    empty: str,
    too_long: str = "",
    absent: str = "",
    most: int = MAX_TEXT_CHARACTERS,
) -> str:
    if not isinstance(given, str):
        cure = ""
        if given is None and absent:
            cure = f": {absent}"
        elif given is not None and not isinstance(given, Iterable):
            cure = ": convert it with str(...)"
        raise _BrokenRuleError(f"must be {wanted}, not {_called(given)}{cure}")
    if not given or given.isspace():
        raise _BrokenRuleError(f"is empty: {empty}")
    if len(given) > most:
        rule = f"must have at most {most:,} characters"
        raise _BrokenRuleError(f"{rule}: {too_long}" if too_long else rule)
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            rule = "must be text that UTF-8 can carry: it holds half of a surrogate pair"
            raise _BrokenRuleError(rule) from None
    return given


def _id(given: object, *, empty: str, too_long: str) -> str:
    number: Any = given
    if isinstance(number, numbers.Integral) and not isinstance(given, bool):
        try:
            given = str(int(number))
        except ValueError:  # thousands of digits
            raise _BrokenRuleError("must be an int of fewer digits, or text") from None
    return _text(given, wanted="text or int", empty=empty, too_long=too_long)


_EACH_HAS_AN_ID: Final = "every product has one, its SKU for instance"
_NAME_FROM_ID: Final = "pass the product's id where it has no name"
_FROM_WIDGET: Final = "both come from the chat widget, and without them there is no visitor"


def _product_id(_: object, given: object) -> str:
    return _id(given, empty=_EACH_HAS_AN_ID, too_long="pass the shop's own id or SKU alone")


def _product_name(_: object, given: object) -> str:
    return _text(given, wanted="text", empty=_NAME_FROM_ID, too_long="cut it", absent=_NAME_FROM_ID)


def _source(_: object, given: object) -> str | None:
    if given is None:
        return None
    return _text(
        given,
        wanted="text",
        empty="None sends none",
        too_long="a word will do",
        most=MAX_SOURCE_CHARACTERS,
    )


def _order_id(_: object, given: object) -> str | None:
    if given is None:
        return None
    empty = "None where there is no order number"
    return _id(given, empty=empty, too_long="pass the order number alone")


def _fingerprint(field: str, _: object, given: object) -> str:
    most = MAX_FINGERPRINT_CHARACTERS
    text = _text(given, wanted="text", empty=_FROM_WIDGET, absent=_FROM_WIDGET, most=most)
    if _CONTROL_CHARACTER.search(text):
        raise _BrokenRuleError("must hold no control character")
    if field not in _fields_warned_of and not _UUID.fullmatch(text):
        _fields_warned_of.add(field)
        _log.warning(
            "alhena: a %s is no UUID, which the vendor's page says it is: pass on what the chat "
            "widget in the browser returned (said once)",
            field,
        )
    return text


def _currency(_: object, given: object) -> str:
    if not isinstance(given, str):
        raise _BrokenRuleError(f"must be three letters A-Z, as EUR, not {_called(given)}")
    if len(given) != 3 or not given.isascii() or not given.isalpha():
        raise _BrokenRuleError("must be three letters A-Z, as EUR")
    if not given.isupper():
        raise _BrokenRuleError("must be upper case", f'"{given}"')
    return given


_REFUND: Final = "refunds cannot be recorded"
_DISCOUNT: Final = "a discount is no line: leave it out, lines need not add up to the total"


def _number(given: object, *, text_as: str, negative: str, shows: bool = False) -> Number:
    number = _of_number_type(given, text_as)
    decimal = number if isinstance(number, Decimal) else None
    if not (-inf < number < inf if decimal is None else decimal.is_finite()):
        raise _BrokenRuleError("must be a finite number: NaN often stands for a missing one")
    if number < 0:
        is_short = shows and number > -10_000 and len(str(number)) <= 5
        raise _BrokenRuleError(f"must be 0 or more: {negative}", str(number) if is_short else "")
    if number >= NUMBER_BOUND:
        raise _BrokenRuleError("must be below 1e15")
    return number if decimal is None else _of_few_places(decimal)


def _of_number_type(given: object, text_as: str) -> Number:
    if not isinstance(given, bool):
        if isinstance(given, int | float | Decimal):
            return given
        if isinstance(given, numbers.Integral):
            return int(given)
        if isinstance(given, numbers.Real):
            return _to_float(given)
    cure = text_as if isinstance(given, str) else "int, float or Decimal"
    raise _BrokenRuleError(f"must be a number, not {_called(given)}: {cure}")


def _to_float(given: Any) -> float:
    try:
        return float(given)
    except OverflowError:  # a fraction
        raise _BrokenRuleError("must be below 1e15") from None


def _of_few_places(decimal: Decimal) -> Decimal:
    """Return it with no more places than are allowed; zeros at the end are none."""
    exponent = decimal.as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101  for mypy; only a number that is not finite has none
    if -exponent <= MAX_DECIMAL_PLACES:
        return decimal
    rounded = decimal.quantize(_LAST_PLACE, context=_EXACT)
    if rounded != decimal:
        cure = 'quantize(Decimal("0.01"))'
        raise _BrokenRuleError(f"must have at most {MAX_DECIMAL_PLACES} decimal places: {cure}")
    return rounded.normalize(_EXACT)


_PRICE: Final = '19.9 without quotes, or as Decimal("19.90")'
_COUNT: Final = "2 without quotes"


def _value(_: object, given: object) -> Number:
    return _number(given, text_as=_PRICE, negative=_REFUND)


def _line_value(_: object, given: object) -> Number:
    return _number(given, text_as=_PRICE, negative=_DISCOUNT)


def _quantity(_: object, given: object) -> Number:
    return _number(given, text_as=_COUNT, negative=_REFUND, shows=True)


def _line_quantity(_: object, given: object) -> Number:
    quantity = _quantity(_, given)
    if quantity == 0:
        raise _BrokenRuleError("must be more than 0: leave out a line of nothing")
    return quantity


def _cart_quantity(fields: Mapping[str, Any], given: object) -> Number:
    quantity = _quantity(fields, given)
    kind = fields["type"]
    if quantity == 0 and isinstance(kind, CartEventType) and kind is not _REMOVED:
        raise _BrokenRuleError("is the quantity AFTER the event: 0 only for ITEM_REMOVED")
    return quantity


def _lines(_: object, given: object) -> tuple[LineItem, ...]:
    if not isinstance(given, tuple):
        raise _BrokenRuleError(f"must be a list of LineItem, not {_called(given)}")
    if not given:
        raise _BrokenRuleError("must hold at least one LineItem")
    if len(given) > MAX_LINE_ITEMS:
        rule = f"must hold at most {MAX_LINE_ITEMS:,}, not {len(given):,}"
        raise _BrokenRuleError(f"{rule}: merge lines, or split the order")
    wrong = [place for place, line in enumerate(given) if not isinstance(line, LineItem)]
    if wrong:
        raise merged([_no_line(place, given[place]) for place in wrong], line_count=len(given))
    return given


def _no_line(place: int, given: object) -> InvalidEventError:
    rule = f"must be a LineItem, not {_called(given)}"
    facts = (f"line_items[{place}]", rule, type(given).__name__)
    return InvalidEventError(*facts, subject="CheckoutEvent")


_VISITOR_RULES: Final[dict[str, _Rule]] = {
    field: partial(_fingerprint, field) for field in ("fingerprint", "faq_fingerprint")
}
_LINE_RULES: Final[dict[str, _Rule]] = {
    "product_id": _product_id,
    "product_name": _product_name,
    "quantity": _line_quantity,
    "value": _line_value,
    "currency": _currency,
}
_CART_RULES: Final[dict[str, _Rule]] = {
    "visitor": _visitor,
    "type": _type,
    "product_id": _product_id,
    "product_name": _product_name,
    "value": _value,
    "currency": _currency,
    "quantity": _cart_quantity,
    "source": _source,
}
_CHECKOUT_RULES: Final[dict[str, _Rule]] = {
    "visitor": _visitor,
    "value": _value,
    "currency": _currency,
    "line_items": _lines,
    "order_id": _order_id,
}
_CHANGE_RULES: Final[dict[str, _Rule]] = {"before": _quantity, "after": _quantity}
_IN_CART_RULES: Final[dict[str, _Rule]] = {"product_id": _product_id, "quantity": _quantity}


# --- as data: each kind's stored form -------------------------------------------------------------


def _as_it_is(value: Any, _: Any) -> Any:
    return value


# What is structured is judged by the rules above, and by nothing else. (Left alone, cattrs makes
# "None" of a name that is null.)
converter.register_structure_hook(str, _as_it_is)
converter.register_structure_hook(CartEventType, _as_it_is)
converter.register_structure_hook(Visitor, _as_it_is)
converter.register_structure_hook_func({Number, str | None}.__contains__, _as_it_is)
converter.register_structure_hook_func(
    lambda kind: kind == tuple[LineItem, ...], lambda stored, _: _lines_of(stored)
)
converter.register_unstructure_hook(Decimal, lambda number: number)


def _lines_of(stored: Any) -> Any:
    """Return the lines, or the error that stands for those that broke rules."""
    if not isinstance(stored, list | tuple):
        return stored
    lines: list[object] = []
    refused: dict[int, InvalidEventError] = {}
    for place, line in enumerate(stored):
        try:
            lines.append(STRUCTURE[LineItem](line) if isinstance(line, Mapping) else line)
        except InvalidEventError as error:
            refused[place] = error
            if len(refused) == MOST_BAD_LINES:
                break
    return refused_lines(refused, len(stored)) if refused else lines


_FLAT: Final = {"fingerprint": "user_fingerprint", "faq_fingerprint": "user_faq_fingerprint"}
"""A visitor's fields -> their names among an event's."""


def _visitor_of(stored: Mapping[str, Any]) -> Any:
    """Return the visitor of an event's stored form, or the error that stands for one."""
    try:
        return STRUCTURE[Visitor](stored)
    except InvalidEventError as error:
        return error


def _structure_visitor(stored: Mapping[str, Any]) -> Visitor:
    try:
        return Visitor(**{field: stored[name] for field, name in _FLAT.items()})
    except InvalidEventError as error:
        raise renamed(error, _FLAT) from None


def _unstructure_visitor(visitor: Visitor) -> dict[str, Any]:
    return {name: getattr(visitor, field) for field, name in _FLAT.items()}


def _unstructure_with_visitor(kind: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """The visitor's two values stand beside the event's own; what is None is left out."""
    rest = make_dict_unstructure_fn(
        kind, converter, _cattrs_omit_if_default=True, visitor=override(omit=True)
    )

    def unstructure(event: Any) -> dict[str, Any]:
        return {
            "user_fingerprint": event.visitor.fingerprint,
            "user_faq_fingerprint": event.visitor.faq_fingerprint,
            **rest(event),
        }

    return unstructure


def _structure_with_visitor(kind: type[Any]) -> Callable[[Mapping[str, Any]], Any]:
    whole = make_dict_structure_fn(kind, converter)
    return lambda stored: whole({**stored, "visitor": _visitor_of(stored)}, kind)


_structure_line_by = make_dict_structure_fn(LineItem, converter)


def _structure_line(stored: Mapping[str, Any]) -> LineItem:
    return _structure_line_by(stored, LineItem)


register(Visitor, _FLAT.values(), structure=_structure_visitor, unstructure=_unstructure_visitor)
register(
    LineItem,
    _LINE_RULES,
    structure=_structure_line,
    unstructure=make_dict_unstructure_fn(LineItem, converter),
)
register(
    CartEvent,
    [*_FLAT.values(), *(_CART_RULES.keys() - {"visitor", "source"})],
    optional=["source"],
    structure=_structure_with_visitor(CartEvent),
    unstructure=_unstructure_with_visitor(CartEvent),
)
register(
    CheckoutEvent,
    [*_FLAT.values(), *(_CHECKOUT_RULES.keys() - {"visitor", "order_id"})],
    optional=["order_id"],
    items={"line_items": LineItem},
    structure=_structure_with_visitor(CheckoutEvent),
    unstructure=_unstructure_with_visitor(CheckoutEvent),
)
