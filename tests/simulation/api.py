"""A model of the vendor's API: what it records, what it refuses. It knows no client."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["ModelApi", "error_bodies"]


class ModelApi:
    """Judges one payload after the other, and remembers the carts and orders it recorded.

    Args:
        preconditions: `off`, `lenient` or `strict`, the readings of the two `PREVIOUS_*` codes.
    """

    def __init__(self, preconditions: str = "off") -> None:
        self._preconditions = preconditions
        self.carts: dict[tuple[str, str, str], float] = {}
        """Quantity by company, visitor and product; a removed product is absent."""
        self.orders: set[tuple[str, str]] = set()
        self._added: set[tuple[str, str, str]] = set()
        self._increased: set[tuple[str, str, str]] = set()

    def record(self, payload: dict[str, Any]) -> str | None:
        """Record an event and return None, or return the code of its refusal."""
        if payload["company_key"] == "unknown":
            return "COMPANY_NOT_FOUND"
        if payload["user_faq_fingerprint"] == "no-ticket":
            return "ACTIVE_TICKET_NOT_FOUND"
        if "line_items" in payload:
            return self._checkout(payload)
        return self._cart(payload)

    def _checkout(self, payload: dict[str, Any]) -> str | None:
        order_id = payload.get("order_id")
        if order_id is not None:
            order = (payload["company_key"], order_id)
            if order in self.orders:
                return "ORDER_ALREADY_EXISTS"
            self.orders.add(order)
        return None

    def _cart(self, payload: dict[str, Any]) -> str | None:
        place = (payload["company_key"], payload["user_fingerprint"], payload["product_id"])
        kind = payload["type"]
        if kind == "ITEM_ADDED":
            self._added.add(place)
        elif self._preconditions != "off" and place not in self._added:
            return "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
        elif kind == "QUANTITY_INCREASED":
            self._increased.add(place)
        elif kind == "QUANTITY_DECREASED" and self._misses_increase(place):
            return "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
        if kind == "ITEM_REMOVED":
            self.carts.pop(place, None)
        else:
            self.carts[place] = payload["quantity"]
        return None

    def _misses_increase(self, place: tuple[str, str, str]) -> bool:
        return self._preconditions == "strict" and place not in self._increased


_SHAPES: tuple[Callable[[str], Any], ...] = (
    lambda code: {"error": code},
    lambda code: {"status": "error", "error_code": code},
    lambda code: {"error": {"code": code, "message": "no"}},
    lambda code: {"errors": [{"code": code}]},
    lambda code: {"status": code},
    lambda code: {"detail": f"refused: {code}"},
)


def error_bodies(code: str, rng: random.Random) -> tuple[int, bytes]:
    """Return a status and a body that carry a code: the page names neither shape nor status."""
    status = rng.choice((200, 400, 404, 409, 422, 500))
    return status, json.dumps(rng.choice(_SHAPES)(code)).encode()
