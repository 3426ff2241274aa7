"""How long to wait before the next attempt. The arithmetic is the backoff library's."""

from __future__ import annotations

from itertools import islice
from math import inf

import backoff

from alhena_async.outcomes import Verdict, VerdictKind
from alhena_async.policies import RetryPolicy

__all__ = ["delay_before_retry", "retry_after"]

_MOST_DOUBLINGS = 64  # past any cap; keeps the look-up short for an event with many attempts


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
    bound = next(islice(bounds, min(attempts - 1, _MOST_DOUBLINGS), None))
    jittered = backoff.full_jitter(min(bound, max(remaining, 0.0)))
    return max(jittered, retry_after(policy, verdict))


def retry_after(policy: RetryPolicy, verdict: Verdict) -> float:
    """Return the seconds of peace that the API asked for, bounded; 0 if it asked for none."""
    return min(verdict.retry_after or 0.0, policy.retry_after_cap)
