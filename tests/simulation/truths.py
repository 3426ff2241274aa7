"""What must be true of each attempt and each outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alhena_async.events import CartEvent
from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.book import Entry

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

__all__ = ["EPS", "check_outcome", "rule_of_attempt"]

EPS = 1e-6


# --- attempts ----------------------------------------------------------------------------------


def rule_of_attempt(
    oracle: Oracle, entry: Entry, payload: dict[str, Any], *, checkout: bool, now: float
) -> str | None:
    """Return the rule that a request breaks by beginning now, or None."""
    if entry.outcome is not None:
        return "sent after it was settled"
    if now >= entry.deadline:
        return "sent past its deadline"
    if now < oracle.wire.paused_until - EPS:
        return f"sent while the API asked for peace until {oracle.wire.paused_until}"
    if oracle.ended:
        return "sent after close"
    if entry.doomed:
        return "sent though it was dropped"
    return (
        oracle.callers.breaker_of(cart=entry.is_cart).broken_by(entry, now)
        or _broken_retry(oracle, entry, now)
        or _broken_body(oracle, entry, payload, checkout)
    )


def _broken_retry(  # noqa: PLR0911  one for each rule
    oracle: Oracle, entry: Entry, now: float
) -> str | None:
    last, rules = entry.last, oracle.rules
    if last is None:
        return None
    if rules.max_attempts is not None and entry.attempts >= rules.max_attempts:
        return "more attempts than max_attempts"
    if last.code is not None and last.code.startswith("PREVIOUS"):
        entry.precondition_tries += 1
        if entry.precondition_tries > rules.precondition_retries:
            return "more precondition retries than allowed"
        if now < entry.ended_at + rules.precondition_delay - EPS:
            return "a precondition retry came too early"
        return None
    if last.kind not in {"transient", "cancelled"}:
        return "a terminal reply was not the end"
    if last.ambiguous and not _repeatable(oracle, entry):
        return "an ambiguous attempt was repeated that may not be"
    if last.throttled and now < entry.ended_at + min(last.pause, rules.retry_after_cap) - EPS:
        return "Retry-After is a floor"
    return None


def _repeatable(oracle: Oracle, entry: Entry) -> bool:
    if entry.is_cart:
        return oracle.rules.retry_ambiguous_carts
    return entry.order_id is not None or oracle.rules.assign_order_ids


def _broken_body(
    oracle: Oracle, entry: Entry, payload: dict[str, Any], checkout: bool
) -> str | None:
    lane, event = entry.lane, entry.event
    if payload["company_key"] != lane.company or payload["user_fingerprint"] != lane.visitor:
        return "sent for another visitor or company"
    if checkout is entry.is_cart:
        return "sent to the wrong endpoint"
    if isinstance(event, CartEvent):
        entry.sent_type = payload["type"]
        same = payload["quantity"] == event.quantity and payload["product_id"] == event.product_id
        known = payload["type"] == event.type or oracle.rules.coalescing == "net"
        return None if same and known else "the body is not the event's"
    return _broken_order_id(oracle, entry, payload)


def _broken_order_id(  # noqa: PLR0911  one for each rule
    oracle: Oracle, entry: Entry, payload: dict[str, Any]
) -> str | None:
    sent = payload.get("order_id")
    if sent != payload.get("orderId"):
        return "two names, two order ids"
    if entry.order_id is not None:
        if sent != entry.order_id:
            return "the caller's order id was not sent"
        if (entry.lane.company, entry.order_id) in oracle.recorded_orders:
            return "an order that this client recorded was sent again"
        return None
    if oracle.rules.assign_order_ids:
        if sent is None or not sent.startswith("auto-") or entry.wire_id not in {None, sent}:
            return "an assigned order id must be fixed for all attempts"
        entry.wire_id = sent
        return None
    return None if sent is None else "an order id that nobody gave"


# --- outcomes ----------------------------------------------------------------------------------


def check_outcome(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> None:
    """Note whatever an outcome claims that is not so."""
    broken = _broken_claim(oracle, entry, outcome, now)
    if broken is not None:
        oracle.expect(False, f"{outcome.status}: {broken}:", entry, outcome)


def _broken_claim(  # noqa: PLR0911  one for each rule
    oracle: Oracle, entry: Entry, outcome: Outcome, now: float
) -> str | None:
    coalesced = outcome.status is OutcomeStatus.COALESCED
    if entry.doomed and outcome.status is not OutcomeStatus.DROPPED:
        return "was to be dropped"
    if outcome.attempts != entry.attempts:
        return "the attempts are miscounted"
    if outcome.ambiguous != entry.ambiguous:
        return "ambiguous is not the truth"
    if abs(outcome.elapsed - (now - entry.accepted_at)) > EPS:
        return f"elapsed should be {now - entry.accepted_at}"
    if entry.passed and not coalesced:
        return "a later event of its visitor was sent before"
    waited_for_disk = oracle.journal is not None and (
        outcome.attempts == 0 or outcome.status in {OutcomeStatus.KEPT, OutcomeStatus.ABANDONED}
    )
    if not coalesced and now > entry.deadline + EPS and not waited_for_disk:
        return "settled past its deadline"
    if entry.receipt is not None and entry.receipt.outcome is not outcome:
        return "its receipt tells otherwise"
    return _CLAIMS[outcome.status](oracle, entry, outcome, now)


def _recorded(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if entry.last is None:
        return "never sent"
    if not entry.is_cart and entry.order_id is not None:
        oracle.recorded_orders.add((entry.lane.company, entry.order_id))
    if entry.last.kind == "recorded":
        return None if entry.recorded else "the API knows nothing of it"
    own = entry.last.code == "ORDER_ALREADY_EXISTS" and entry.ambiguous
    return None if own else "the last reply said otherwise"


def _duplicate(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if entry.is_cart or entry.order_id is None:
        return "only an order can be one"
    if entry.last is not None and entry.last.code == "ORDER_ALREADY_EXISTS":
        return "it was this one that was recorded" if entry.recorded else None
    known = (entry.lane.company, entry.order_id) in oracle.recorded_orders
    return None if known else "nobody recorded that order"


def _coalesced(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if oracle.rules.coalescing == "off" or entry.pinned:
        return "it was never to be folded away"
    if entry.attempts:
        return "an attempt had touched it"
    return oracle.folds.folded(entry, outcome)


def _unattributed(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    told = entry.last is not None and entry.last.code == "ACTIVE_TICKET_NOT_FOUND"
    return None if told else "nobody said so"


def _rejected(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    last = entry.last
    if last is None or last.kind not in {"code", "terminal"}:
        return "nobody refused it"
    if last.code in {"ORDER_ALREADY_EXISTS", "ACTIVE_TICKET_NOT_FOUND"}:
        return "these have outcomes of their own"
    return None if (outcome.code, outcome.http_status) == (last.code, last.status) else "whose code"


def _expired(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    rules, last = oracle.rules, entry.last
    if now >= entry.deadline - EPS:
        return None
    if last is None or last.kind not in {"transient", "cancelled"} or now != entry.ended_at:
        return "before its deadline"
    if last.ambiguous and not _repeatable(oracle, entry):
        return "it is UNKNOWN"
    if rules.max_attempts is not None and entry.attempts >= rules.max_attempts:
        return None
    longest = max(rules.longest_delay, min(last.pause, rules.retry_after_cap))
    return None if now + longest >= entry.deadline - EPS else "there was time for another attempt"


def _unknown(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if entry.last is None or not entry.last.ambiguous:
        return "its last attempt was not ambiguous"
    return "it may be repeated" if _repeatable(oracle, entry) else None


def _dropped(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if entry.doomed:
        return None
    if oracle.rules.overflow != "shed" or not entry.is_cart or entry.attempts:
        return "not one to be shed"
    return oracle.folds.shed(entry)


def _kept(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if oracle.journal is None:
        return "there is no journal"
    return None if oracle.callers.may_abandon() else "nobody closed, or there was time left"


def _abandoned(oracle: Oracle, entry: Entry, outcome: Outcome, now: float) -> str | None:
    if oracle.journal is not None and not oracle.journal.was_in_trouble:
        return "the journal has it"
    return None if oracle.callers.may_abandon() else "nobody closed, or there was time left"


_CLAIMS: dict[OutcomeStatus, Callable[[Oracle, Entry, Outcome, float], str | None]] = {
    OutcomeStatus.RECORDED: _recorded,
    OutcomeStatus.DUPLICATE: _duplicate,
    OutcomeStatus.COALESCED: _coalesced,
    OutcomeStatus.UNATTRIBUTED: _unattributed,
    OutcomeStatus.REJECTED: _rejected,
    OutcomeStatus.EXPIRED: _expired,
    OutcomeStatus.UNKNOWN: _unknown,
    OutcomeStatus.DROPPED: _dropped,
    OutcomeStatus.KEPT: _kept,
    OutcomeStatus.ABANDONED: _abandoned,
}
