"""One attempt at an event, what its verdict means, and how long to wait before the next one."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from math import inf
from typing import Final

import attrs
import backoff

from alhena_async._delivery.timers import AttemptTimeouts
from alhena_async._queue.envelope import Details, Envelope
from alhena_async._replies import Verdict, VerdictKind, classify
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async._wire import endpoint_of, request_body
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import CANCELLED_UNSENT, Reply, Transport, TransportError

__all__ = [
    "End",
    "Retry",
    "attempt",
    "decide",
    "delay_before_retry",
    "may_wait_for_precondition",
    "retry_after",
]

_MAX_DOUBLINGS = 64  # past any cap; keeps the look-up short for an event with many attempts


def delay_before_retry(
    policy: RetryPolicy, *, attempts: int, verdict: Verdict, remaining: float = inf
) -> float:
    """Return seconds: exponential, capped, then full jitter; never below `Retry-After`.

    Args:
        policy: Bases and cap.
        attempts: How many there were, 1 or more.
        verdict: What the last one met; a throttled one starts from `throttle_base`.
        remaining: Seconds to the deadline; only `Retry-After` makes the delay longer than that.
    """
    throttled = verdict.kind is VerdictKind.THROTTLED
    bounds = backoff.expo(
        base=2, factor=policy.throttle_base if throttled else policy.base, max_value=policy.cap
    )
    next(bounds)  # its first value is None: the generator waits to be started
    bound = next(islice(bounds, min(attempts - 1, _MAX_DOUBLINGS), None))
    jittered = backoff.full_jitter(min(bound, max(remaining, 0.0)))
    return max(jittered, retry_after(policy, verdict))


def retry_after(policy: RetryPolicy, verdict: Verdict) -> float:
    """Return the seconds that the API asked us to wait, bounded; 0 if it asked for none."""
    return min(verdict.retry_after or 0.0, policy.retry_after_cap)


@attrs.frozen(kw_only=True)
class Retry:
    """A step: try again, after `delay` seconds."""

    delay: float
    reason: str
    precondition: bool = False


@attrs.frozen(kw_only=True)
class End:
    """A step: settle the envelope with this status."""

    status: OutcomeStatus
    detail: str | None = None


_LAST_SECONDS: Final = 0.01
"""Seconds to the deadline in which nothing is tried again: draws from what is left come ever closer
together, and the deadline may have been looked at already."""

_STATUS_OF_FINAL: Final = {
    VerdictKind.RECORDED: OutcomeStatus.RECORDED,
    VerdictKind.PUBLISHED: OutcomeStatus.PUBLISHED,
    VerdictKind.ORDER_EXISTS: OutcomeStatus.DUPLICATE,
    VerdictKind.NO_TICKET: OutcomeStatus.UNATTRIBUTED,
    VerdictKind.PRECONDITION: OutcomeStatus.REJECTED,
    VerdictKind.REFUSED: OutcomeStatus.REJECTED,
}


async def attempt(
    envelope: Envelope,
    *,
    company_key: str,
    transport: Transport,
    http: HttpPolicy,
    timeouts: AttemptTimeouts,
    until: float,
    may_repeat: bool = True,
) -> Verdict:
    """Make one request and return its verdict. Raises nothing but a cancellation of the task.

    Args:
        envelope: What to send; it is encoded now.
        company_key: Whose event it is.
        transport: Who carries it.
        http: The order id's name.
        timeouts: Ends it in time.
        until: The loop's time at which the attempt ends without a reply.
        may_repeat: Whether the transport may send it twice.
    """
    event = envelope.event
    try:
        body = request_body(
            event,
            company_key=company_key,
            order_id=envelope.order_id,
            order_id_field=http.order_id_field,
        )
    except Exception as error:  # noqa: BLE001  ours is the fault: the event ends, its lane goes on
        log_foreign(f"a {type(event).__name__} could not be encoded", error)
        detail = f"could not be encoded: {type(error).__name__}"
        return Verdict(kind=VerdictKind.REFUSED, detail=detail)
    send = transport.send if may_repeat else getattr(transport, "send_once", transport.send)
    try:
        with timeouts.at(until):
            reply: Reply = await send(endpoint_of(event), body)
        return _judge(envelope, reply)
    except TimeoutError as error:
        sent = not is_unsent(error.__cause__)
        return _no_reply("no reply in time" if sent else "no connection in time", sent=sent)
    except TransportError as error:
        return _no_reply(str(error), sent=error.sent, is_local=error.is_local)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _no_reply("the transport cancelled the request", sent=True)
    except Exception as error:  # noqa: BLE001  a foreign transport may raise anything
        log_foreign("the transport failed in an unforeseen way", error)
        return _no_reply(f"the transport raised {type(error).__name__}", sent=True)


def is_unsent(cancelled: BaseException | None) -> bool:
    """Return whether a cancellation came before anything was sent."""
    return CANCELLED_UNSENT in getattr(cancelled, "__notes__", ())


def _judge(envelope: Envelope, reply: Reply) -> Verdict:
    verdict = classify(reply, wall_time=time.time())
    if not reply.was_repeated:
        return verdict
    envelope.details().was_repeated = True
    return attrs.evolve(verdict, ambiguous=verdict.kind.is_transient)


def _no_reply(detail: str, *, sent: bool, is_local: bool = False) -> Verdict:
    kind = VerdictKind.TRANSIENT
    return Verdict(kind=kind, ambiguous=sent, detail=detail, is_local=is_local)


def decide(
    envelope: Envelope,
    verdict: Verdict,
    *,
    policy: RetryPolicy,
    remaining: float,
    may_wait_for_precondition: bool,
) -> Retry | End:
    """Return what an attempt's verdict means for its envelope. Pure but for the jitter.

    Args:
        envelope: As it was before this verdict: attempts made, earlier ambiguity.
        verdict: What the attempt met.
        policy: What is tried again.
        remaining: Seconds to its deadline.
        may_wait_for_precondition: Whether the lane allows a precondition retry.
    """
    if not verdict.kind.is_transient:
        return _decide_final(
            envelope.details(), verdict, policy, remaining, may_wait_for_precondition
        )
    if verdict.ambiguous and not envelope.may_repeat(policy):
        detail = f"perhaps recorded, and may not be repeated: {verdict.detail}"
        return End(status=OutcomeStatus.UNKNOWN, detail=detail)
    details = envelope.details()
    if _attempts_are_over(details, policy):
        detail = f"max_attempts={policy.max_attempts} reached; the last: {verdict.detail}"
        return End(status=OutcomeStatus.EXPIRED, detail=detail)
    delay = delay_before_retry(
        policy, attempts=details.attempts, verdict=verdict, remaining=remaining
    )
    if delay >= remaining or remaining <= _LAST_SECONDS:
        detail = f"its delivery timeout ends before the next attempt; the last: {verdict.detail}"
        return End(status=OutcomeStatus.EXPIRED, detail=detail)
    return Retry(delay=delay, reason=verdict.detail or "")


def _decide_final(
    details: Details,
    verdict: Verdict,
    policy: RetryPolicy,
    remaining: float,
    may_wait: bool,  # noqa: FBT001
) -> Retry | End:
    if verdict.kind is VerdictKind.ORDER_EXISTS and (details.ambiguous or details.was_repeated):
        # The order that exists is this one: an earlier attempt was recorded unheard.
        return End(status=OutcomeStatus.RECORDED)
    if verdict.kind is VerdictKind.PRECONDITION and may_wait:
        return _precondition_retry(details, verdict, policy, remaining)
    return End(status=_STATUS_OF_FINAL[verdict.kind], detail=verdict.detail)


def _precondition_retry(
    details: Details, verdict: Verdict, policy: RetryPolicy, remaining: float
) -> Retry | End:
    over = details.precondition_tries >= policy.precondition_retries
    if over or _attempts_are_over(details, policy) or policy.precondition_delay >= remaining:
        return End(status=OutcomeStatus.REJECTED, detail=verdict.detail)
    return Retry(delay=policy.precondition_delay, reason=verdict.code or "", precondition=True)


def _attempts_are_over(details: Details, policy: RetryPolicy) -> bool:
    return policy.max_attempts is not None and details.attempts >= policy.max_attempts


def may_wait_for_precondition(envelope: Envelope) -> bool:
    """Return whether the earlier event may still come from elsewhere, at no cost to a checkout."""
    if envelope.lane.waiting_checkouts:
        return False
    began = envelope.lane.precondition_at
    details = envelope.details()
    return began is None or envelope.accepted_at > began or details.precondition_tries > 0
