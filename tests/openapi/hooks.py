"""Loaded by schemathesis (SCHEMATHESIS_HOOKS): what a JSON Schema cannot say of a sound body."""

from __future__ import annotations

from typing import Any

import schemathesis

__all__ = ["before_call"]

_NAMES = ("orderId", "order_id")


def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give both spellings of an order id one value: no schema can ask for two that are equal."""
    body = case.body
    if isinstance(body, dict) and all(_is_order_id(body.get(name)) for name in _NAMES):
        case.body = {**body, "orderId": body["order_id"]}
    if case.query and _is_long_wait(case.query.get("wait")):
        case.query["wait"] = 0.001


def _is_order_id(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_long_wait(value: object) -> bool:
    try:
        return 0.001 < float(str(value)) <= 60
    except ValueError:
        return False


schemathesis.hook(before_call)
