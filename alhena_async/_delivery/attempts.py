"""One attempt at an event, what its verdict means, and how long to wait before the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from math import inf
from typing import Final

import attrs
import backoff

from alhena_async._delivery.timers import AttemptTimeout
from alhena_async._queue.envelope import Details, Envelope, may_repeat
from alhena_async._replies import Verdict, VerdictKind, classify
from alhena_async._telemetry.telemetry import Telemetry, log_foreign
from alhena_async._wire import endpoint_of, request_body
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import CANCELLED_UNSENT, Reply, Transport, TransportError

__all__ = [
    "Attempt",
    "End",
    "Retry",
    "Sender",
    "decide",
    "delay_before_retry",
    "retry_after",
    "watched",
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

# As in _queue/envelope.py: a member is slow to look up in Python 3.11.
_RECORDED: Final = VerdictKind.RECORDED

_END_RECORDED: Final = End(status=OutcomeStatus.RECORDED)

_STATUS_OF_FINAL: Final = {
    VerdictKind.RECORDED: OutcomeStatus.RECORDED,
    VerdictKind.PUBLISHED: OutcomeStatus.PUBLISHED,
    VerdictKind.ORDER_EXISTS: OutcomeStatus.DUPLICATE,
    VerdictKind.NO_TICKET: OutcomeStatus.UNATTRIBUTED,
    VerdictKind.PRECONDITION: OutcomeStatus.REJECTED,
    VerdictKind.REFUSED: OutcomeStatus.REJECTED,
}


class Sender:
    """Makes attempts over a transport that carries requests.

    Args:
        transport: Who carries them.
        http: The order id's name.
        retry: Which events the transport may send twice.
    """

    def __init__(self, transport: Transport, http: HttpPolicy, retry: RetryPolicy) -> None:
        self._transport = transport
        self._order_id_field = http.order_id_field
        self._retry = retry

    async def attempt(self, envelope: Envelope, timeout: AttemptTimeout) -> Verdict:
        """Make one request and return its verdict. Raises nothing but a cancellation of the task.

        Args:
            envelope: What to send; it is encoded now.
            timeout: Ends it in time.
        """
        event, order_id = envelope.event, envelope.order_id
        try:
            body = request_body(
                event,
                company_key=envelope.lane.company_key,
                order_id=order_id,
                order_id_field=self._order_id_field,
            )
        except Exception as error:  # noqa: BLE001  ours is the fault: the event ends, its lane goes on
            log_foreign(f"a {type(event).__name__} could not be encoded", error)
            detail = f"could not be encoded: {type(error).__name__}"
            return Verdict(kind=VerdictKind.REFUSED, detail=detail)
        send = self._transport.send
        if not may_repeat(event, order_id, self._retry):
            send = getattr(self._transport, "send_once", send)
        try:
            with timeout:
                reply = await send(endpoint_of(event), body)
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


Attempt = Callable[[Envelope, AttemptTimeout], Awaitable[Verdict]]
"""What makes one attempt in time, and returns its verdict."""


def watched(make: Attempt, telemetry: Telemetry) -> Attempt:
    """Return what makes an attempt, such that observers hear how it ended, if any wants to."""
    if not telemetry.hears_attempts:
        return make
    now = asyncio.get_running_loop().time

    async def make_and_tell(envelope: Envelope, timeout: AttemptTimeout) -> Verdict:
        began, verdict = now(), None
        event, number = envelope.event, envelope.details().attempts
        try:
            verdict = await make(envelope, timeout)
        finally:
            captured = envelope.captured() if telemetry.captures else ()
            telemetry.attempt_ended(event, number, now() - began, verdict, captured)
        return verdict

    return make_and_tell


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
) -> Retry | End:
    """Return what an attempt's verdict means for its envelope. Pure but for the jitter.

    Args:
        envelope: As it was before this verdict: attempts made, earlier ambiguity.
        verdict: What the attempt met.
        policy: What is tried again.
        remaining: Seconds to its deadline.
    """
    if verdict.kind is _RECORDED:  # nearly always; it needs no look at anything else
        return _END_RECORDED
    if not verdict.kind.is_transient:
        return _decide_final(envelope, verdict, policy, remaining)
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
    envelope: Envelope, verdict: Verdict, policy: RetryPolicy, remaining: float
) -> Retry | End:
    details = envelope.details()
    if verdict.kind is VerdictKind.ORDER_EXISTS and (details.ambiguous or details.was_repeated):
        # The order that exists is this one: an earlier attempt was recorded unheard.
        return _END_RECORDED
    if verdict.kind is VerdictKind.PRECONDITION and _may_wait_for_precondition(envelope):
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


def _may_wait_for_precondition(envelope: Envelope) -> bool:
    """Return whether the earlier event may still come from elsewhere, at no cost to a checkout."""
    if envelope.lane.waiting_checkouts:
        return False
    began = envelope.lane.precondition_at
    details = envelope.details()
    return began is None or envelope.accepted_at > began or details.precondition_tries > 0
