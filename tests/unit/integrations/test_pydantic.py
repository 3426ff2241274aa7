"""An event, a line or a visitor as a pydantic field, and so in a FastAPI handler's body."""

import json
from decimal import Decimal
from typing import Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

from alhena_async.events import CartEvent, CheckoutEvent, Event, LineItem, Visitor
from alhena_async.integrations.fastapi import EventBody
from tests.unit.test_events_as_data import ALL, CART, LINE, ORDER, VISITOR


def in_floats(sample: Any) -> Any:
    """What pydantic's reader of JSON makes of it: it has floats alone."""
    return type(sample).from_dict(json.loads(sample.to_json()))


class Report(BaseModel):
    visitor: Visitor
    lines: list[LineItem]
    event: CartEvent | CheckoutEvent


def app() -> FastAPI:
    service = FastAPI()

    @service.post("/cart")
    async def cart(event: Annotated[CartEvent, Body()]) -> CartEvent:
        assert isinstance(event, CartEvent)
        return event

    @service.post("/any")
    async def any_event(event: EventBody) -> str:
        return type(event).__name__

    return service


async def post(path: str, **sent: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app())
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        return await browser.post(path, headers={"Content-Type": "application/json"}, **sent)


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: type(sample).__name__)
def test_each_kind_is_a_field(sample: Any) -> None:
    """From a dict, from JSON, or as it is; and back into JSON that it is read from again."""
    adapter = TypeAdapter[Any](type(sample))
    assert adapter.validate_python(sample) is sample
    assert adapter.validate_python(sample.to_dict()) == sample
    assert adapter.validate_json(sample.to_json()) == in_floats(sample)
    assert adapter.validate_python(adapter.dump_python(sample)) == sample


def test_in_a_model_of_the_shops_own() -> None:
    """With its siblings, each by our rules."""
    report = Report(visitor=VISITOR, lines=[LINE], event=ORDER)
    assert Report.model_validate(report.model_dump()) == report
    assert Report.model_validate_json(report.model_dump_json()).event == in_floats(ORDER)


def test_what_our_rules_refuse_pydantic_refuses_in_our_words() -> None:
    """With the place, and the cure."""
    with pytest.raises(ValidationError) as caught:
        Report.model_validate(
            {
                "visitor": VISITOR,
                "lines": [LINE.to_dict(), {**LINE.to_dict(), "value": -1}],
                "event": CART,
            }
        )
    (error,) = caught.value.errors()
    assert error["loc"] == ("lines", 1)
    assert "LineItem.value must be 0 or more: a discount is no line" in error["msg"]


def test_numbers_in_pydantics_json_are_numbers() -> None:
    """Not text, which the API would refuse; `to_json` and `dump_python` keep every digit."""
    adapter = TypeAdapter(CheckoutEvent)
    assert b'"value":39.8,' in adapter.dump_json(ORDER)
    assert adapter.dump_python(ORDER)["value"] == Decimal("39.80")


async def test_in_a_handlers_body() -> None:
    """The handler has the event; what it returns is its stored form."""
    answer = await post("/cart", json={**CART.to_dict(), "value": 19.9})
    assert answer.status_code == 200
    assert answer.json() == {**CART.to_dict(), "value": 19.9}
    for event in (ORDER, CART):
        assert (await post("/any", content=event.to_json())).json() == type(event).__name__


@pytest.mark.parametrize(
    "content", ["", "3", "[]", "{}", '{"value": 1}', CART.to_json().replace("EUR", "eur")]
)
async def test_a_body_that_is_no_event_is_a_422(content: str) -> None:
    """Which says what is wrong; no body is the shop's own fault."""
    answer = await post("/cart", content=content)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]


async def test_a_broken_event_is_told_by_its_own_kind_alone() -> None:
    """One error, and not one for each kind that it might have been."""
    answer = await post("/any", content=CART.to_json().replace("EUR", "eur"))
    [error] = answer.json()["detail"]
    assert error["loc"] == ["body"]
    assert error["msg"] == 'Value error, CartEvent.currency "eur" must be upper case'
    [error] = (await post("/any", content="[]")).json()["detail"]
    assert error["msg"] == "Value error, CartEvent must be an object, not list"


def test_the_apps_openapi_shows_the_rules() -> None:
    """Names, types and bounds, as in `schema.json`."""
    document = app().openapi()
    body = document["paths"]["/cart"]["post"]["requestBody"]["content"]["application/json"]
    schema = body["schema"]
    assert schema["description"].startswith("Something happened to one product")
    assert schema["properties"]["type"]["enum"][0] == "ITEM_ADDED"
    assert schema["properties"]["product_id"]["maxLength"] == 20_000
    assert schema["required"][:2] == ["user_fingerprint", "user_faq_fingerprint"]


def test_both_kinds_at_once() -> None:
    """`Event` is a type for a field too."""
    assert TypeAdapter[Any](Event).validate_python(CART.to_dict()) == CART
    assert TypeAdapter[Any](Event).validate_python(ORDER.to_dict()) == ORDER
