"""What a query asks of recorded or refused requests, and the answer as JSON: for any language."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from alhena_async.emulator._assertions import Reader, Wanted
from alhena_async.emulator._contract import UnreadableBodyError, parse_json
from alhena_async.emulator._records import Recorded, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_MAX_LISTED = 1_000

_MAX_LISTED_BYTES = 4 * 1024 * 1024

_MAX_WAIT = 60

_NUMBERS = frozenset({"quantity", "value"})


@frozen(kw_only=True)
class Search:
    """What is looked for, and how the answer is cut."""

    wanted: Wanted
    after: int
    """Only records with a greater `seq` are listed."""
    limit: int
    """How many are listed at most."""
    wait: float
    """Seconds to wait for `times`; 0: none."""
    times: int
    """How many records have to be found for a wait to end."""

    @classmethod
    def of(cls, query: Mapping[str, str], known: Mapping[str, Reader]) -> Self:
        """Read a query.

        Args:
            query: The facts, with `after` (default 0), `limit` (100), `wait` (0) and `times` (1).
            known: `RECORDED` or `REFUSED`: which facts there are.

        Raises:
            ValueError: A value is out of its bounds.
            TypeError: There is no fact of that name.
        """
        rest = dict(query)
        cut = {
            "after": _whole(rest, "after", 0, least=0, most=10**15 - 1),
            "limit": _whole(rest, "limit", 100, least=1, most=_MAX_LISTED),
            "times": _whole(rest, "times", 1, least=1, most=10**15 - 1),
        }
        wait = float(_number(rest, "wait", Decimal(0), least=0, most=_MAX_WAIT))
        facts = {name: _fact(name, text) for name, text in rest.items()}
        readers = {name: reader for name, reader in known.items() if name != "visitor"}
        return cls(wanted=Wanted.of(facts, readers), wait=wait, **cut)

    def satisfied_by(self, records: Iterable[Recorded | Refused]) -> bool:
        """Return whether as many records as wanted meet the facts."""
        missing = self.times
        for record in records:
            missing -= self.wanted.meets(record)
            if not missing:
                return True
        return False


def found(records: Iterable[Recorded | Refused], search: Search) -> list[Recorded | Refused]:
    """Return the records that meet the facts, oldest first."""
    return [record for record in records if search.wanted.meets(record)]


def listed(records: Sequence[Recorded | Refused], search: Search) -> dict[str, Any]:
    """Return the answer: how many there are, and a page of them that ends in time."""
    shown: list[Recorded | Refused] = []
    size = 0
    later = [record for record in records if record.seq > search.after]
    for record in later[: search.limit]:
        size += len(record.raw)
        if shown and size > _MAX_LISTED_BYTES:
            break
        shown.append(record)
    return {
        "status": "success",
        "count": len(records),
        "more": len(shown) < len(later),
        "events": [_told(record) for record in shown],
    }


def _told(record: Recorded | Refused) -> dict[str, Any]:
    common = {
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind.value,
        "company_key": record.company_key,
        "fingerprint": record.fingerprint,
        "faq_fingerprint": record.faq_fingerprint,
        "type": record.type,
        "product_id": record.product_id,
        "product_name": record.product_name,
        "order_id": record.order_id,
    }
    if isinstance(record, Refused):
        told = {"code": record.code, "http_status": record.http_status, "message": record.message}
        return {**common, **told}
    return {
        **common,
        "quantity": None if record.quantity is None else f"{record.quantity:f}",
        "value": f"{record.value:f}",
        "currency": record.currency,
        "source": record.source,
        "line_items": [
            {
                "product_id": line.product_id,
                "product_name": line.product_name,
                "quantity": f"{line.quantity:f}",
                "value": f"{line.value:f}",
                "currency": line.currency,
            }
            for line in record.line_items
        ],
    }


def _fact(name: str, text: str) -> str | Decimal:
    return _parsed(name, text) if name in _NUMBERS else text


def _whole(query: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    number = _number(query, name, Decimal(default), least=least, most=most)
    if number != number.to_integral_value():
        raise ValueError(f"{name} must be a whole number")
    return int(number)


def _number(
    query: dict[str, str], name: str, default: Decimal, *, least: int, most: int
) -> Decimal:
    text = query.pop(name, None)
    number = default if text is None else _parsed(name, text)
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}")
    return number


def _parsed(name: str, text: str) -> Decimal:
    try:
        number = parse_json(text.encode("utf-8", "replace"))
    except UnreadableBodyError:
        number = None
    if not isinstance(number, Decimal):
        raise ValueError(f"{name} must be a number")  # noqa: TRY004 - all bad queries are ValueErrors
    return number
