"""What the emulated account records and refuses."""

from decimal import Decimal

import pytest
from attrs import evolve

from alhena_async.emulator._contract import Cart, CartType, Checkout, Line, RefusalCode, Visitor
from alhena_async.emulator._ledger import Ledger, Preconditions, Tickets

VISITOR = Visitor("fp", "faq")
CART = Cart(
    company_key="shop",
    visitor=VISITOR,
    type=CartType.ITEM_ADDED,
    product_id="mug",
    product_name="Mug",
    value=Decimal("9.50"),
    currency="EUR",
    quantity=Decimal(1),
    source=None,
)
CHECKOUT = Checkout(
    company_key="shop",
    visitor=VISITOR,
    value=Decimal("19.90"),
    currency="EUR",
    order_id="1",
    lines=(
        Line(
            product_id="mug",
            product_name="Mug",
            quantity=Decimal(2),
            value=Decimal("19.90"),
            currency="EUR",
        ),
    ),
    source=None,
)
ADDED_MISSING = RefusalCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND
INCREASED_MISSING = RefusalCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND


def code(ledger: Ledger, event: Cart | Checkout) -> RefusalCode | None:
    """Judge, and record what may be recorded."""
    refusal = ledger.judge(event)
    if refusal is None:
        ledger.record(event)
        return None
    return refusal.code


def cart(kind: str, quantity: int = 1) -> Cart:
    return evolve(CART, type=CartType(kind), quantity=Decimal(quantity))


def test_unknown_company_is_refused() -> None:
    """With known companies, every other key is COMPANY_NOT_FOUND."""
    ledger = Ledger(companies=["shop"])
    assert code(ledger, CART) is None
    assert code(ledger, evolve(CART, company_key="Shop")) is RefusalCode.COMPANY_NOT_FOUND


def test_only_visitors_with_an_open_ticket_are_recorded() -> None:
    """A ticket belongs to the pair of fingerprints, and can be closed again."""
    ledger = Ledger(tickets=Tickets.OPENED)
    assert code(ledger, CART) is RefusalCode.ACTIVE_TICKET_NOT_FOUND
    ledger.open_ticket(Visitor("fp", "fp"))
    assert code(ledger, CHECKOUT) is RefusalCode.ACTIVE_TICKET_NOT_FOUND
    ledger.open_ticket(VISITOR)
    assert code(ledger, CHECKOUT) is None
    ledger.close_ticket(VISITOR)
    assert code(ledger, CART) is RefusalCode.ACTIVE_TICKET_NOT_FOUND


@pytest.mark.parametrize("kind", ["QUANTITY_INCREASED", "QUANTITY_DECREASED", "ITEM_REMOVED"])
@pytest.mark.parametrize("checks", [Preconditions.LENIENT, Preconditions.STRICT])
def test_changes_need_an_earlier_addition(kind: str, checks: Preconditions) -> None:
    """Lenient and strict: any type but ITEM_ADDED needs one before it."""
    assert code(Ledger(preconditions=checks), cart(kind)) is ADDED_MISSING


@pytest.mark.parametrize("kind", list(CartType))
def test_without_checks_every_type_is_recorded(kind: CartType) -> None:
    """Off: no previous event is asked for."""
    assert code(Ledger(), cart(kind)) is None


def test_an_addition_of_another_visitor_or_product_does_not_count() -> None:
    """The check is for the same company, visitor and product."""
    ledger = Ledger(preconditions=Preconditions.LENIENT)
    assert code(ledger, evolve(CART, visitor=Visitor("fp", "other"))) is None
    assert code(ledger, evolve(CART, product_id="MUG")) is None
    assert code(ledger, evolve(CART, company_key="other")) is None
    assert code(ledger, cart("ITEM_REMOVED")) is ADDED_MISSING


def test_a_decrease_needs_an_increase_when_strict() -> None:
    """Strict alone asks a QUANTITY_DECREASED for an earlier QUANTITY_INCREASED."""
    strict = Ledger(preconditions=Preconditions.STRICT)
    lenient = Ledger(preconditions=Preconditions.LENIENT)
    for ledger in (strict, lenient):
        assert code(ledger, cart("ITEM_ADDED", 2)) is None
    assert code(lenient, cart("QUANTITY_DECREASED")) is None
    assert code(strict, cart("QUANTITY_DECREASED")) is INCREASED_MISSING
    assert code(strict, cart("QUANTITY_INCREASED", 3)) is None
    assert code(strict, cart("QUANTITY_DECREASED", 2)) is None


def test_a_removal_resets_neither_precondition() -> None:
    """Once added and increased, a product counts as such after its removal too."""
    ledger = Ledger(preconditions=Preconditions.STRICT)
    for kind in ("ITEM_ADDED", "QUANTITY_INCREASED", "ITEM_REMOVED"):
        assert code(ledger, cart(kind)) is None
    assert code(ledger, cart("QUANTITY_DECREASED")) is None


def test_a_refused_event_counts_as_no_previous_event() -> None:
    """Only recorded events are previous events."""
    ledger = Ledger(companies=["shop"], preconditions=Preconditions.LENIENT)
    assert code(ledger, evolve(CART, company_key="x")) is RefusalCode.COMPANY_NOT_FOUND
    assert code(ledger, cart("ITEM_REMOVED")) is ADDED_MISSING


def test_an_order_id_is_recorded_once_for_each_company() -> None:
    """The same order id is refused, at the same company only."""
    ledger = Ledger()
    assert code(ledger, CHECKOUT) is None
    again = evolve(CHECKOUT, visitor=Visitor("a", "b"), value=Decimal(1))
    assert code(ledger, again) is RefusalCode.ORDER_ALREADY_EXISTS
    assert code(ledger, evolve(CHECKOUT, company_key="other")) is None
    assert ledger.revenue == {"EUR": Decimal("39.80")}


def test_a_checkout_without_order_id_is_always_recorded() -> None:
    """Nothing tells two such checkouts apart."""
    ledger = Ledger()
    for _ in range(3):
        assert code(ledger, evolve(CHECKOUT, order_id=None)) is None
    assert ledger.revenue == {"EUR": Decimal("59.70")}


def test_revenue_is_exact_beyond_the_default_precision() -> None:
    """Sums round nothing away, however far apart the numbers are."""
    ledger = Ledger()
    for value in ("100000000000000000000000000000", "0.000000001", "0.1", "0.2"):
        ledger.record(evolve(CHECKOUT, order_id=None, value=Decimal(value)))
    assert str(ledger.revenue["EUR"]) == "100000000000000000000000000000.300000001"


def test_revenue_is_kept_by_currency() -> None:
    """Currencies are never added up."""
    ledger = Ledger()
    ledger.record(CHECKOUT)
    ledger.record(evolve(CHECKOUT, order_id="2", currency="USD", value=Decimal(1)))
    assert ledger.revenue == {"EUR": Decimal("19.90"), "USD": Decimal(1)}


def test_carts_hold_the_quantity_after_the_last_event() -> None:
    """Quantity is a state: the last one counts, and a removal ends the line."""
    ledger = Ledger()
    ledger.record(cart("ITEM_ADDED", 1))
    ledger.record(cart("QUANTITY_INCREASED", 5))
    assert ledger.carts == {("shop", ("fp", "faq"), "mug"): Decimal(5)}
    ledger.record(cart("ITEM_REMOVED", 0))
    assert ledger.carts == {}


def test_a_checkout_takes_what_it_bought_out_of_the_cart() -> None:
    """Bought products leave that visitor's cart, others stay."""
    ledger = Ledger()
    ledger.record(CART)
    ledger.record(evolve(CART, product_id="bowl"))
    ledger.record(evolve(CART, visitor=Visitor("other", "faq")))
    ledger.record(CHECKOUT)
    assert [(key.visitor.fingerprint, key.product_id) for key in ledger.carts] == [
        ("fp", "bowl"),
        ("other", "mug"),
    ]


def test_the_latest_carts_come_first() -> None:
    """A change moves a line to the front."""
    ledger = Ledger()
    for product in ("a", "b", "c", "a"):
        ledger.record(evolve(CART, product_id=product))
    assert [key.product_id for key, _ in ledger.latest_carts(2)] == ["a", "c"]
