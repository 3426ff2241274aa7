"""The rules, each with the smallest change of text that breaks it."""

from __future__ import annotations

import attrs

__all__ = ["MUTANTS", "Mutant"]


@attrs.frozen(kw_only=True)
class Mutant:
    """One broken rule."""

    name: str
    rule: str
    file: str
    before: str
    after: str
    suite: tuple[str, ...] = ()
    """What holds the rule where the engine's tests do not."""

    def apply(self, source: str) -> str:
        """Return the source with the rule broken.

        Raises:
            LookupError: The text to change does not stand there exactly once.
        """
        if source.count(self.before) != 1:
            count = source.count(self.before)
            raise LookupError(f"{self.name}: {self.before!r} stands there {count} times")
        return source.replace(self.before, self.after)


def _mutant(
    name: str, rule: str, file: str, before: str, after: str, *, suite: tuple[str, ...] = ()
) -> Mutant:
    return Mutant(name=name, rule=rule, file=file, before=before, after=after, suite=suite)


_WAYS = ("tests/unit/test_ways.py",)
_BIRTH = ("tests/unit/journal/test_killed_at_birth.py",)
_PROMISES = ("tests/unit/journal/test_promises.py",)
_FULL_DISK = ("tests/unit/journal/test_full_disk.py",)
_SALVAGE = ("tests/unit/journal/test_salvage.py", "tests/damage/test_damage.py")
_CLAIMS = ("tests/unit/cli/test_letter_claims.py",)
_LETTERS = ("tests/integration/test_cli_letters.py",)
_EMULATE = ("tests/integration/test_cli_emulate.py",)


_RELAY = (
    "tests/unit/relay/test_relay.py",
    "tests/unit/relay/test_publisher.py",
    "tests/unit/relay/test_topology.py",
)
_BROKER_LETTERS = "tests/integration/test_cli_broker_letters.py"
_SECOND_EVENT = (
    f"{_BROKER_LETTERS}::test_a_letter_that_was_published_and_not_removed_makes_no_second_event"
)
_ADOPTION = ("tests/unit/test_client_adoption.py", "tests/unit/queue/test_merging.py")


_SPILL = ("tests/unit/test_client_spill.py", "tests/unit/journal/test_spilled.py")


MUTANTS = (
    _mutant(
        "retry-at-tail",
        "a retry keeps its place at the lane's head",
        "_queue/scheduler.py",
        "        lane.resume_at = until\n",
        "        lane.resume_at = until\n"
        "        if lane.head is not None:\n"
        "            from alhena_async._queue.envelope import EnvelopeState\n"
        "            envelope, lane.taken = lane.taken, None\n"
        "            envelope.state = EnvelopeState.DUE\n"
        "            lane.append(envelope)\n"
        "            self.in_flight -= 1\n"
        "            lane.take_head()\n"
        "            self.in_flight += 1\n",
    ),
    _mutant(
        "released-before-retry",
        "the lane stays taken until its retry is over",
        "_queue/scheduler.py",
        "        lane.state = LaneState.BACKOFF\n",
        "        lane.state = LaneState.BACKOFF\n"
        "        if lane.due:\n"
        "            from alhena_async._queue.envelope import EnvelopeState\n"
        "            envelope, following = lane.taken, lane.head\n"
        "            lane.remove(following)\n"
        "            following.state = EnvelopeState.IN_FLIGHT\n"
        "            lane.taken = following\n"
        "            lane.append(envelope)\n",
    ),
    _mutant(
        "wire-count-leaks",
        "what an attempt holds is released in a finally",
        "_delivery/dispatcher.py",
        "        finally:\n            self._gate.end(permit, verdict, self._loop.time())\n",
        "        finally:\n            if verdict is not None and not verdict.kind.is_transient:\n"
        "                self._gate.end(permit, verdict, self._loop.time())\n",
    ),
    _mutant(
        "jitter-before-cap",
        "the cap comes first, the jitter after it",
        "_delivery/attempts.py",
        "    jittered = backoff.full_jitter(min(bound, max(remaining, 0.0)))\n",
        "    wild = backoff.full_jitter(bound * 2 ** min(attempts, 20))\n"
        "    jittered = min(wild, policy.cap)\n",
    ),
    _mutant(
        "retry-after-jittered",
        "Retry-After is a floor that jitter never lowers",
        "_delivery/attempts.py",
        "    return max(jittered, retry_after(policy, verdict))",
        "    return backoff.full_jitter(max(jittered, retry_after(policy, verdict)))",
    ),
    _mutant(
        "terminal-retried",
        "a documented code is final",
        "_replies.py",
        'value in {"transient", "throttled"}',
        'value in {"transient", "throttled", "refused"}',
    ),
    _mutant(
        "idless-repeated",
        "an ambiguous checkout without an order id is not repeated",
        "_queue/envelope.py",
        "    return order_id is not None\n",
        "    return True\n",
    ),
    _mutant(
        "fold-across-checkout",
        "nothing folds across a checkout",
        "_queue/lane.py",
        "        while envelope is not None and envelope.event.__class__ is CartEvent:\n"
        "            if envelope.event.product_id == product_id:\n",
        "        while envelope is not None:\n"
        "            if getattr(envelope.event, 'product_id', None) == product_id:\n",
    ),
    _mutant(
        "fold-across-checkout-long",
        "nothing folds across a checkout, in a long lane either",
        "_queue/lane.py",
        "            self._neighbours = _Neighbours()  # nothing",
        "            pass  # nothing",
    ),
    _mutant(
        "fold-into-flight",
        "what was touched by an attempt never folds",
        "_queue/lane.py",
        "        if self._neighbours is None:\n            if self.size <= _MAX_LOOKED_THROUGH:\n",
        "        taken = self.taken\n"
        "        if taken and getattr(taken.event, 'product_id', None) == product_id:\n"
        "            return taken\n"
        "        if self._neighbours is None:\n            if self.size <= _MAX_LOOKED_THROUGH:\n",
    ),
    _mutant(
        "survivor-keeps-earlier-place",
        "the survivor stands in the later one's place",
        "_queue/queue.py",
        "        if lane.due and lane.state is LaneState.IDLE:\n",
        "        if envelope.folds and lane.head is not envelope:\n"
        "            lane.remove(envelope)\n"
        "            rest = list(lane)\n"
        "            for other in rest:\n"
        "                lane.remove(other)\n"
        "            for other in (envelope, *rest):\n"
        "                lane.append(other)\n"
        "        if lane.due and lane.state is LaneState.IDLE:\n",
    ),
    _mutant(
        "two-in-flight",
        "one request in flight per lane",
        "_queue/scheduler.py",
        "            lane.state = _TAKEN\n            if lane.taken is None:\n",
        "            lane.state = _TAKEN\n"
        "            if lane.due > 1 and lane.taken is None:\n"
        "                lane.state = LaneState.READY\n"
        "                line.append(lane)\n"
        "            if lane.taken is None or lane.state is LaneState.READY:\n",
    ),
    _mutant(
        "deadline-after-attempt",
        "no attempt begins past the deadline",
        "_delivery/dispatcher.py",
        "        if self._deadlines.of(envelope) <= now:\n"
        "            status = OutcomeStatus.EXPIRED",
        "        if envelope.details().attempts and self._deadlines.of(envelope) <= now:\n"
        "            status = OutcomeStatus.EXPIRED",
    ),
    _mutant(
        "sleeps-past-deadline",
        "no backoff reaches past the deadline",
        "_delivery/attempts.py",
        "    if delay >= remaining or ",
        "    if remaining <= 0 or ",
    ),
    _mutant(
        "cancelled-waiter-keeps-slot",
        "a waiter cancelled after its grant gives the room back",
        "_queue/admission.py",
        "                    self.release(lane, event)\n",
        "                    pass\n",
    ),
    _mutant(
        "lifo-waiters",
        "of a lane, who waits longest gets the room",
        "_queue/admission.py",
        "self.waiting.popitem(last=False)",
        "self.waiting.popitem()",
    ),
    _mutant(
        "greedy-waiters",
        "lanes take turns at the room",
        "_queue/admission.py",
        "            right.setdefault(lane)\n",
        "            right.setdefault(lane)\n            right.move_to_end(lane, last=False)\n",
    ),
    _mutant(
        "carts-before-checkouts",
        "those who wait with a checkout come first",
        "_queue/admission.py",
        "            right = self._urgent if callers.checkouts else self._patient\n",
        "            right = self._patient\n",
    ),
    _mutant(
        "checkout-passes-its-lane",
        "a lane's earlier events hurry for its checkout's sake",
        "_queue/admission.py",
        "            right = self._urgent if callers.checkouts else self._patient\n",
        "            first = next(iter(callers.waiting.values()))\n"
        "            is_cart = first.__class__ is CartEvent\n"
        "            right = self._patient if is_cart else self._urgent\n",
    ),
    _mutant(
        "full-lane-blocks-others",
        "who waits for a full lane holds nobody else up",
        "_queue/admission.py",
        "        elif self.is_full(lane):\n            right = self._parked\n",
        "",
    ),
    _mutant(
        "lane-unbounded",
        "one lane has no more room than its share",
        "_queue/admission.py",
        "            and lane.size < self.lane_capacity\n",
        "",
    ),
    _mutant(
        "lane-full-until-settled",
        "a full lane has room once its head is taken",
        "_queue/queue.py",
        "        self.admission.look_anew(envelope.lane)\n        self.admission.grant()\n",
        "",
    ),
    _mutant(
        "no-reserve",
        "carts leave a share of the room to checkouts",
        "_queue/admission.py",
        "self.reserve = int(policy.capacity * policy.checkout_reserve)",
        "self.reserve = 0",
    ),
    _mutant(
        "waiting-carts-take-the-reserve",
        "carts that wait leave the checkouts' share alone too",
        "_queue/admission.py",
        "        return self._free > (0 if is_checkout else self.reserve)\n",
        "        return self._free > 0\n",
    ),
    _mutant(
        "bytes-unbounded",
        "a large event takes the room of several",
        "_queue/admission.py",
        "        return max(1, -int(-bytes_of(event) // self._slot_bytes))\n",
        "        return 1\n",
    ),
    _mutant(
        "bytes-leak",
        "a large event gives all of its room back",
        "_queue/admission.py",
        "            self._add_large(1 - self.slots_of(event))\n",
        "            pass\n",
    ),
    _mutant(
        "barging",
        "while callers wait, track_nowait finds no room",
        "_queue/admission.py",
        "        if self.is_full(lane) or self.others_wait(lane, is_checkout=is_checkout):\n",
        "        if self.is_full(lane):\n",
    ),
    _mutant(
        "shed-checkout",
        "a checkout is never shed",
        "_queue/queue.py",
        "        doomed = self._shed_order.first(within)\n        if not doomed:\n",
        "        doomed = self._shed_order.first(within) or [*lane][:1]\n        if not doomed:\n",
    ),
    _mutant(
        "shed-elsewhere",
        "a full lane sheds its own events",
        "_queue/queue.py",
        "        within = lane if self.admission.is_full(lane) else None\n",
        "        within = None\n",
    ),
    _mutant(
        "shed-too-little",
        "a large event makes as much room as it takes",
        "_queue/queue.py",
        "        while doomed and wanted > 0:\n",
        "        for _ in range(1):\n",
    ),
    _mutant(
        "shed-in-flight",
        "what an attempt has touched is not shed",
        "_queue/queue.py",
        "        if self._shed_order is not None and envelope.is_cart:\n"
        "            self._shed_order.discard(envelope)\n"
        "        self.admission.look_anew",
        "        self.admission.look_anew",
    ),
    _mutant(
        "breaker-never-closes",
        "a probe that meets the API closes the breaker",
        "_delivery/throttling.py",
        "            self._move(BreakerState.CLOSED)",
        "            self._open(now)",
    ),
    _mutant(
        "half-open-two",
        "half-open lets one probe through",
        "_delivery/throttling.py",
        "        return -inf if self._on_wire < self.concurrency.limit else inf",
        "        return -inf",
    ),
    _mutant(
        "breaker-off",
        "so many failures in a row open the breaker",
        "_delivery/throttling.py",
        "        if self._failures >= self._policy.min_calls:",
        "        if self._failures >= 1_000_000_000:",
    ),
    _mutant(
        "a-share-is-an-outage",
        "a success makes up for the failures before it",
        "_delivery/throttling.py",
        "            self._failures = max(0.0, self._failures - self._worth)\n",
        "            self._failures = max(0.0, self._failures - 1)\n",
    ),
    _mutant(
        "probes-close-by",
        "probes go further and further apart",
        "_delivery/throttling.py",
        "            self._open_for = min(self._open_for * 2, self._policy.open_cap)\n",
        "",
    ),
    _mutant(
        "storm-after-an-outage",
        "after an outage requests begin again one at a time",
        "_delivery/throttling.py",
        "        self.concurrency.restart()\n",
        "",
    ),
    _mutant(
        "stragglers-hold-probes",
        "requests of before the breaker moved take no place of those after it",
        "_delivery/throttling.py",
        "        self._generation += 1\n        self._on_wire = 0\n",
        "        self._generation += 1\n",
    ),
    _mutant(
        "few-refusals-shrink",
        "refusals among successes leave the concurrency as it is",
        "_delivery/throttling.py",
        "        self._refusals = 0\n        if self._limit < self._most:\n",
        "        if self._limit < self._most:\n",
    ),
    _mutant(
        "every-refusal-shrinks",
        "a single refusal without Retry-After leaves the concurrency as it is",
        "_delivery/throttling.py",
        "        if asked_for_pause or self._refusals >= ",
        "        if asked_for_pause or self._refusals > 0 or self._refusals >= ",
    ),
    _mutant(
        "close-two-deadlines",
        "close has one deadline",
        "client.py",
        "        await shutdown  # over: raises what it failed with\n",
        "        await asyncio.sleep(timeout)\n        await shutdown\n",
    ),
    _mutant(
        "settled-twice",
        "an event is settled once",
        "_queue/settlement.py",
        "        envelope.settle(outcome)\n",
        "        envelope.settle(outcome)\n"
        "        envelope.state = envelope.state.DUE\n        envelope.settle(outcome)\n"
        "        self._telemetry.settled(outcome)\n",
    ),
    _mutant(
        "folded-not-counted",
        "folded events are in the accounts",
        "_queue/settlement.py",
        "self._settle(member, self._folded(member, folds.survivor, outcome), lane)\n",
        "member.settle(self._folded(member, folds.survivor, outcome))\n",
    ),
    _mutant(
        "uncovered-looked-for",
        "what a pair that cancelled out uncovers is not looked for among all that wait",
        "_queue/lane.py",
        "            self._neighbours[envelope.cart.product_id] = envelope\n",
        "            self._neighbours = None\n",
    ),
    _mutant(
        "uncovered-forgotten",
        "what a pair that cancelled out uncovers is a neighbour again",
        "_queue/lane.py",
        "            self._neighbours[envelope.cart.product_id] = envelope\n",
        "            pass\n",
    ),
    _mutant(
        "group-at-once",
        "a large group ends in slices",
        "_queue/settlement.py",
        "            self.settle_some(_MEMBERS_AT_ONCE)\n",
        "            self.settle_some(1_000_000)\n",
    ),
    _mutant(
        "group-forgotten",
        "a large group ends to its last event",
        "_queue/queue.py",
        "        if self._unfinished:\n            return -inf\n",
        "",
    ),
    _mutant(
        "flush-forgets-backoff",
        "flush waits for lanes in backoff",
        "_queue/queue.py",
        "        return self._flushes.flush()\n",
        "        done = self._flushes.flush()\n"
        "        if self.queued == 0 and self.scheduler._backoffs and not done.done():\n"
        "            done.set_result(None)\n"
        "        return done\n",
    ),
    _mutant(
        "full-batch-ignored",
        "once flush_at events wait, nothing lingers",
        "_queue/queue.py",
        "            self._end_lingers()\n            lingers = False\n",
        "            pass\n",
    ),
    _mutant(
        "shedding-barges",
        "no shedding while callers wait for room",
        "_queue/queue.py",
        "        if self.admission.others_wait(lane, is_checkout=is_checkout):\n"
        "            return False\n",
        "",
    ),
    _mutant(
        "unfair-lanes",
        "lanes take turns",
        "_queue/scheduler.py",
        "            lane = line.popleft()\n",
        "            lane = line.pop()\n",
    ),
    _mutant(
        "linger-ignored",
        "a lane waits for company",
        "_queue/queue.py",
        "        lingers = self._lingers and is_cart and not pinned and ",
        "        lingers = False and ",
    ),
    _mutant(
        "full-lane-lingers",
        "what fills its lane does not linger",
        "_queue/queue.py",
        " and lane.size < self._lane_capacity\n",
        "\n",
    ),
    _mutant(
        "record-lingers",
        "record does not linger",
        "_queue/queue.py",
        "        lingers = self._lingers and is_cart and not pinned and ",
        "        lingers = self._lingers and is_cart and ",
    ),
    _mutant(
        "record-folded",
        "an event under record is never folded away",
        "_queue/coalescing.py",
        " or earlier.is_pinned:",
        " or False:",
    ),
    _mutant(
        "unbounded-reply",
        "a reply is not read past max_reply_bytes",
        "_http/exchange.py",
        "        while room > 0 and not content.at_eof():\n",
        "        while not content.at_eof():\n            room = 65_536\n",
    ),
    _mutant(
        "late-reply-taken-for-the-next",
        "a request that is called off takes its connection with it",
        "_http/exchange.py",
        "        except BaseException:\n            connection.close()\n",
        "        except BaseException:\n            connection.release()\n",
    ),
    _mutant(
        "timeouts-swallows-a-cancellation",
        "whoever else cancels a request that runs out of time is heard",
        "_delivery/timers.py",
        "            and self._task.uncancel() <= self._foreign\n",
        "            and self._task.uncancel() >= 0\n",
    ),
    _mutant(
        "no-adaptive-concurrency",
        "concurrency shrinks when the API asks for less, or refuses a whole round",
        "_delivery/throttling.py",
        "    _SHRINK = 0.7",
        "    _SHRINK = 1.0",
    ),
    _mutant(
        "no-client-pause",
        "Retry-After holds for the whole client",
        "_delivery/throttling.py",
        "            self._paused_until = max(self._paused_until, now + pause)\n",
        "",
    ),
    _mutant(
        "max-in-flight-ignored",
        "max_in_flight bounds the requests on the wire",
        "_delivery/engine.py",
        "        self._max_in_flight = policy.max_in_flight\n",
        "        self._max_in_flight = policy.max_in_flight + 1\n",
    ),
    _mutant(
        "ambiguity-forgotten",
        "ORDER_ALREADY_EXISTS after an ambiguous attempt of our own is a success",
        "_delivery/dispatcher.py",
        "        details.ambiguous = details.ambiguous or verdict.ambiguous\n",
        "",
    ),
    _mutant(
        "orders-not-remembered",
        "a repeated checkout is a duplicate without a request",
        "_queue/settlement.py",
        "            self._known[company_key, event.order_id] = total_of(event)\n",
        "            pass\n",
    ),
    _mutant(
        "precondition-for-all",
        "events that waited when a precondition retry began get none of their own",
        "_delivery/dispatcher.py",
        "            lane.precondition_at = now\n",
        "",
    ),
    _mutant(
        "precondition-delays-checkout",
        "no precondition retry while a checkout waits behind",
        "_delivery/attempts.py",
        "    if envelope.lane.waiting_checkouts:\n        return False\n",
        "",
    ),
    _mutant(
        "lanes-leak",
        "idle lanes vanish",
        "_queue/scheduler.py",
        "            self.lanes.pop(lane.key, None)\n",
        "            pass\n",
    ),
    _mutant(
        "cart-ids-everywhere",
        "lanes are apart by company key",
        "_queue/queue.py",
        "            key = (*key, company_key)\n",
        "            pass\n",
    ),
    _mutant(
        "late-reply-counts",
        "a reply from before the breaker moved does not count",
        "_delivery/throttling.py",
        "        if generation != self._generation:\n            return\n",
        "",
    ),
    _mutant(
        "kept-rows-deleted",
        "what is KEPT keeps its row",
        "_queue/settlement.py",
        " and status is not OutcomeStatus.KEPT:\n",
        ":\n",
    ),
    _mutant(
        "abandoned-comes-back",
        "the row of what is ABANDONED is withdrawn",
        "_queue/settlement.py",
        " and status is not OutcomeStatus.KEPT:\n",
        " and status not in (OutcomeStatus.KEPT, OutcomeStatus.ABANDONED):\n",
    ),
    _mutant(
        "folded-rows-stay",
        "the rows of folded events go with their survivor's",
        "_queue/settlement.py",
        "                    rows.append(ending_of(member, lane.company_key))\n",
        "                    pass\n",
    ),
    _mutant(
        "track-skips-disk",
        "track returns once the event is on disk",
        "_delivery/submission.py",
        "                    await self._journal.committed(envelope)\n",
        "                    pass\n",
    ),
    _mutant(
        "sent-unmarked",
        "what may not be repeated is marked before it is sent",
        "_delivery/dispatcher.py",
        " envelope.send_mark is _UNSENT and self._intents is not None:\n",
        " False:\n",
    ),
    _mutant(
        "marked-alone",
        "what folded into a guarded event is marked with it",
        "_delivery/intents.py",
        " for one in each.group]",
        " for one in [each]]",
    ),
    _mutant(
        "mark-stays",
        "the close takes back the mark of what did not reach the API",
        "_delivery/engine.py",
        "                await self._take_marks_back(self.journal)\n",
        "                pass\n",
    ),
    _mutant(
        "mark-taken-off-the-wire",
        "what is on the wire keeps its mark",
        "_delivery/engine.py",
        " SendMark.NONE and not _is_perhaps_sent(envelope):\n",
        " SendMark.NONE:\n",
    ),
    _mutant(
        "marked-far-ahead",
        "no more is marked than may be on the wire",
        "_delivery/intents.py",
        "        while self._waiting and len(batch) < room and rows < _ROWS_PER_TRANSACTION:\n",
        "        while self._waiting and rows < _ROWS_PER_TRANSACTION:\n",
    ),
    _mutant(
        "mark-outlives-refusal",
        "the mark is taken back of what certainly was not recorded",
        "_delivery/dispatcher.py",
        "                self._intents.take_back(envelope)\n",
        "                pass\n",
    ),
    _mutant(
        "marked-behind-breaker",
        "nothing stays marked that a breaker keeps from following",
        "_delivery/intents.py",
        "        if self._ahead:\n            self._call_off()\n",
        "",
    ),
    _mutant(
        "sent-against-the-disk",
        "what the disk has as not sent waits until it can be marked",
        "_delivery/intents.py",
        "            if self._journal.is_on_disk(envelope):\n",
        "            if False:\n",
    ),
    _mutant(
        "connect-counts-as-sent",
        "what was cancelled before there was a connection was not sent",
        "_http/exchange.py",
        "            error.add_note(CANCELLED_UNSENT)\n",
        "",
    ),
    _mutant(
        "held-barges",
        "a younger event does not pass the rows of its lane",
        "_queue/queue.py",
        "        return self._backlogs.blocks(lane_digest(event.visitor, lane.company_key))\n",
        "        return False\n",
    ),
    _mutant(
        "freed-too-early",
        "a lane stays held while any file has a row of it",
        "_queue/backlog.py",
        "            if held is None or lane in self._lanes:",
        "            if held is None:",
    ),
    _mutant(
        "adopted-rows-behind-what-waits",
        "adopted rows go before younger events that no attempt has touched",
        "_queue/queue.py",
        "                self._recall(lane, digest, -inf)\n",
        "                pass\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "uncounted-rows-behind-what-waits",
        "so do rows that nobody had counted",
        "_queue/queue.py",
        "            self._recall(lane, digest, moment)  # nobody had counted this row\n",
        "            pass\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "adopted-rows-before-what-is-older",
        "what waits and is older goes before adopted rows",
        "_queue/envelope.py",
        "        return self.accepted_at < moment or (",
        "        return (",
        suite=_ADOPTION,
    ),
    _mutant(
        "files-not-merged",
        "the rows of several files come by when they were accepted",
        "_queue/merging.py",
        "            source.latest = max(source.latest, accepted_at)\n",
        "            source.latest = float(file)\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "clock-reorders-a-file",
        "within a file, order is the file's own, whatever the clock said",
        "_queue/merging.py",
        "            source.latest = max(source.latest, accepted_at)\n",
        "            source.latest = accepted_at\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "merged-past-a-page",
        "nothing is taken past the end of a page",
        "_queue/merging.py",
        "        if self._lacking or not self._heads:\n",
        "        if not self._heads:\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "rows-wait-for-those-behind-them",
        "rows that are held again leave the share to those they wait for",
        "_queue/backlog.py",
        "        free = self._share - (self._outstanding - self._held_again)\n",
        "        free = self._share - self._outstanding\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "no-room-for-what-all-waits-for",
        "where all that has room waits for rows, one comes in all the same",
        "_queue/admission.py",
        "        return int(self.outstanding == self._backlogs.held_count)\n",
        "        return 0\n",
        suite=_ADOPTION,
    ),
    _mutant(
        "folds-forgotten-by-a-fold",
        "two that speak for others may fold, and all of them settle",
        "_queue/coalescing.py",
        "        folds.members += folded.folds.members\n",
        "",
        suite=_ADOPTION,
    ),
    _mutant(
        "no-slot-for-replay",
        "slots are reserved for the replay",
        "_queue/admission.py",
        "        self._reserved_for_replay = slots\n        self._measure()\n",
        "        pass\n",
    ),
    _mutant(
        "replay-unambiguous",
        "a replayed event counts as ambiguous",
        "_queue/queue.py",
        "        details.ambiguous = row.guard is not SendMark.UNSENT",
        "        details.ambiguous = False",
    ),
    _mutant(
        "sent-row-repeated",
        "a row that was marked as sent is not sent again",
        "_queue/queue.py",
        "        if not may_send:\n",
        "        if False:\n",
    ),
    _mutant(
        "time-on-disk-forgotten",
        "time on disk counts against the deadline",
        "_queue/queue.py",
        "Envelope(row.event, merged.accepted_at,",
        "Envelope(row.event, now,",
    ),
    _mutant(
        "flush-forgets-backlog",
        "flush waits for the backlogs that it knows",
        "_queue/backlog.py",
        "        generation.unsettled += file.rows\n",
        "        generation.unsettled += 0\n",
    ),
    _mutant(
        "kept-without-disk",
        "only what is on disk is KEPT",
        "_delivery/engine.py",
        "        if self.queue.is_durable(envelope):\n",
        "        if self.journal is not None:\n",
    ),
    _mutant(
        "replayed-shed",
        "a replayed event is not shed",
        "_queue/queue.py",
        "        lane.append(envelope)\n        timeout = ",
        "        lane.append(envelope)\n"
        "        if self._shed_order is not None and envelope.is_cart:\n"
        "            self._shed_order.add(envelope)\n"
        "        timeout = ",
    ),
    _mutant(
        "close-reads-on",
        "close reads no more of a backlog",
        "_delivery/engine.py",
        "                    await self._replayer.stop()\n",
        "                    await self._replayer._release()\n",
    ),
    _mutant(
        "keeps-cookies",
        "no cookie on the session's way",
        "_http/transport.py",
        "            cookie_jar=aiohttp.DummyCookieJar(),\n",
        "",
        suite=_WAYS,
    ),
    _mutant(
        "one-precondition-retry",
        "there may be several precondition retries",
        "_delivery/attempts.py",
        "over = details.precondition_tries >= policy.precondition_retries",
        "over = details.precondition_tries >= min(1, policy.precondition_retries)",
        suite=("tests/unit/test_client_retries.py",),
    ),
    _mutant(
        "observers-in-a-callers-context",
        "observers are told in the client's own context",
        "_telemetry/telemetry.py",
        "            loop.call_soon(self.deliver, context=self._context)\n",
        "            loop.call_soon(self.deliver)\n",
        suite=_WAYS,
    ),
    _mutant(
        "two-deadlines-for-the-disk",
        "the disk has one deadline at the end",
        "_delivery/engine.py",
        "within = self._disk_time(_JOURNAL_CLOSE_TIMEOUT)",
        "within = _JOURNAL_CLOSE_TIMEOUT",
        suite=("tests/unit/test_client_journal.py",),
    ),
    _mutant(
        "one-clock-for-letters",
        "a clock that stands weeks ahead deletes nobody's letters",
        "journal/_dead_letters.py",
        "        return min(now, path.stat().st_mtime)\n",
        "        return now\n",
        suite=_PROMISES,
    ),
    _mutant(
        "full-syncs-less",
        "FULL syncs every commit",
        "journal/_sqlite.py",
        '"FULL": 2',
        '"FULL": 1',
        suite=_PROMISES,
    ),
    _mutant(
        "forgotten-not-overwritten",
        "what was delivered is overwritten in the file",
        "journal/_sqlite.py",
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
        suite=_PROMISES,
    ),
    _mutant(
        "deletion-tried-once",
        "a deletion in an adopted file is tried again",
        "journal/_adoption.py",
        "            self.file.write(marks=marks, gone=self.gone)\n",
        "            gone, self.gone = self.gone, []\n"
        "            self.file.write(marks=marks, gone=gone)\n",
        suite=_PROMISES,
    ),
    _mutant(
        "look-before-flag",
        "the writer says that it is idle before it looks",
        "journal/_writer.py",
        "        self.is_idle = True\n"
        "        if not (self.commands or self.settled or self.appended):\n",
        "        is_quiet = not (self.commands or self.settled or self.appended)\n"
        "        self.is_idle = True\n"
        "        if is_quiet:\n",
        suite=_PROMISES,
    ),
    _mutant(
        "answer-speaks-early",
        "an answer speaks for what was submitted before it",
        "journal/_writer.py",
        "        commands = _drained(self.commands)\n"
        "        endings = _drained(self.settled)\n"
        "        appended = _drained(self.appended)\n",
        "        endings = _drained(self.settled)\n"
        "        appended = _drained(self.appended)\n"
        "        commands = _drained(self.commands)\n",
        suite=_PROMISES,
    ),
    _mutant(
        "removed-lock-locks",
        "a lock file that was removed locks nothing",
        "journal/_locks.py",
        "        if _is_same_file(descriptor, path):\n            return Lock(",
        "        if True:\n            return Lock(",
        suite=_PROMISES,
    ),
    _mutant(
        "log-renamed-last",
        "the log of a file that is set aside is renamed first",
        "journal/_salvage.py",
        "zip((*sidecars(path), path), (*sidecars(aside), aside), strict=True)",
        "zip((path, *sidecars(path)), (aside, *sidecars(aside)), strict=True)",
        suite=_PROMISES,
    ),
    _mutant(
        "notes-in-one-place",
        "a kill in the middle of a note leaves the one before",
        "journal/_reserve.py",
        "number % 2 * _HALF_BYTES",
        "0",
        suite=_FULL_DISK,
    ),
    _mutant(
        "notes-only-written",
        "a process that takes over a file reads what was noted beside it",
        "journal/_reserve.py",
        "        self.notes, self._number = _found(self.path)\n",
        "        self.notes, self._number = Notes(), _found(self.path)[1]\n",
        suite=_FULL_DISK,
    ),
    _mutant(
        "mark-waits-for-rows",
        "a mark does not fail for what other rows lack",
        "journal/_writer.py",
        "        if command.row_ids:\n            slots",
        "        if False:\n            slots",
        suite=_FULL_DISK,
    ),
    _mutant(
        "replaced-file-deleted",
        "a file that was replaced underneath is not deleted",
        "journal/_active_file.py",
        "        is_over = not len(self._unsettled) and file.is_ours()\n",
        "        is_over = not len(self._unsettled)\n",
        suite=_PROMISES,
    ),
    _mutant(
        "any-tables",
        "a file's tables must be ours to the letter",
        "journal/_sqlite.py",
        "        known = tables_of.get(found)\n",
        "        known = version if 0 < version <= len(self.migrations) else None\n",
        suite=_SALVAGE,
    ),
    _mutant(
        "label-decides",
        "where a file and its lock file disagree, the rows' seals decide",
        "journal/_adoption.py",
        "        if self._destination in claims or bears_seal(path, self._seed):\n",
        "        if False:\n",
        suite=_SALVAGE,
    ),
    _mutant(
        "unwritable-taken",
        "a file whose header forbids writing is salvaged",
        "journal/_event_file.py",
        "                _check_writable(path, connection)\n",
        "",
        suite=_SALVAGE,
    ),
    _mutant(
        "foreign-salts-end-the-log",
        "a frame of a log whose salts are damaged hides no frame behind it",
        "journal/_sqlite_pages.py",
        "            if proof.words is None and not (bearers and place <= bearers[-1]):\n",
        "            if not head.bears(salts):\n",
    ),
    _mutant(
        "leavings-read",
        "what a log was begun anew over is not read",
        "journal/_sqlite_pages.py",
        "                break\n            is_finished",
        "                pass\n            is_finished",
    ),
    _mutant(
        "log-header-believed",
        "a log whose header is damaged is read by what its frames say",
        "journal/_sqlite_pages.py",
        "            if self._proof(0, order, seeds, first).words is not None:\n",
        "            if self._proof(0, order, seeds[:0], first).words is not None:\n",
    ),
    _mutant(
        "checksum-costs-its-frame",
        "a frame whose checksum alone is damaged counts if the next goes on from what it was",
        "journal/_sqlite_pages.py",
        "            if proof.seed:  #",
        "            if proof.seed > _MAX_SEEDS:  #",
    ),
    _mutant(
        "outage-repeats-itself",
        "an outage is said as it begins, and not with each failure",
        "journal/_outage.py",
        "        if self.cause is None:\n            self.began",
        "        if cause is not self.cause:\n            self.began",
    ),
    _mutant(
        "outage-hammers-the-disk",
        "while the disk refuses, tries keep their distance",
        "journal/_outage.py",
        "now - self._tried < self._pause:",
        "now - self._tried < 0:",
    ),
    _mutant(
        "shorter-log-accepted",
        "SQLite does not open a log of which it would pass over whole transactions",
        "journal/_sqlite_pages.py",
        "    return bool(frames) and not (frames[-1].is_read and path.stat().st_size)\n",
        "    return bool(frames) and not path.stat().st_size\n",
    ),
    _mutant(
        "letters-checkouts-first",
        "of too many dead letters, checkouts go last",
        "journal/_dead_letters.py",
        """for kind in ("kind = 'cart'", "kind = 'checkout'"):""",
        """for kind in ("kind = 'checkout'", "kind = 'cart'"):""",
    ),
    _mutant(
        "letters-flooded",
        "what found no room goes before what was refused",
        "journal/_dead_letters.py",
        """            excess -= self._delete(f"{_DROPPED} AND {kind}", min(excess, spare))\n""",
        "",
    ),
    _mutant(
        "letters-no-share",
        "what found no room keeps a share of the dead letters",
        "journal/_dead_letters.py",
        "spare = self._count(_DROPPED) - retention.dropped",
        "spare = self._count(_DROPPED)",
    ),
    _mutant(
        "mistakes-not-counted",
        "an event that `reporting` catches is counted",
        "_telemetry/telemetry.py",
        "            self.invalid_count += 1\n",
        "            pass\n",
    ),
    _mutant(
        "mistakes-flood-the-log",
        "the same mistake again and again is logged at its 1st, 10th, 100th time",
        "_telemetry/telemetry.py",
        "            news |= is_worth_a_line(self._refusals[known])\n",
        "            news = True\n",
    ),
    _mutant(
        "awaiters-before-observers",
        "observers hear of an outcome before those who await it",
        "_queue/settlement.py",
        "        self._telemetry.settled(outcome)  # first: observers hear before awaiters\n"
        "        envelope.settle(outcome)\n",
        "        envelope.settle(outcome)\n        self._telemetry.settled(outcome)\n",
    ),
    _mutant(
        "done-before-observers",
        "observers hear before a receipt that is done already is awaited",
        "_queue/envelope.py",
        "        elif news_is_pending():\n",
        "        elif False:\n",
    ),
    _mutant(
        "another-total-unsaid",
        "an order id that comes again with another total is told apart",
        "_queue/settlement.py",
        "        return known is not None and known != total_of(event)\n",
        "        return False\n",
    ),
    _mutant(
        "letters-unbounded-bytes",
        "the file of dead letters is bounded in bytes",
        "journal/_dead_letters.py",
        "while (used := self._bytes_used()) > retention.bytes and (count := self._count()):",
        "while (used := self._bytes_used()) < 0 and (count := self._count()):",
    ),
    _mutant(
        "trouble-never-ends",
        "what was told as it began is told when it is over",
        "_telemetry/sampling.py",
        "        lasted = now - self.began_at if self._told_at is not None else None\n",
        "        lasted = None\n",
    ),
    _mutant(
        "trouble-comes-and-goes-aloud",
        "trouble that comes back within a minute is told only once it lasts",
        "_telemetry/sampling.py",
        "            if comes_back and now - self.began_at < _CALM:\n",
        "            if False:\n",
    ),
    _mutant(
        "one-kind-mutes-another",
        "endings are counted by status, code and endpoint",
        "_telemetry/logbook.py",
        "        kind = (outcome.status, code, endpoint)\n",
        "        kind = outcome.status\n",
    ),
    _mutant(
        "orders-go-mute",
        "orders that end badly are told once a minute at least",
        "_telemetry/logbook.py",
        "        if endpoint is Endpoint.CHECKOUT:\n            is_due",
        "        if False:\n            is_due",
    ),
    _mutant(
        "first-requests-are-retries",
        "a retry is a repeated request",
        "_telemetry/telemetry.py",
        "        if number > 1:\n",
        "        if number:\n",
    ),
    _mutant(
        "raw-request-line",
        "what a request named does not steer the terminal of `alhena emulate`",
        "cli/_emulate.py",
        "{name} {clean(text, limit=40)}",
        "{name} {text[:40]}",
        suite=_EMULATE,
    ),
    _mutant(
        "reader-waited-for",
        "the emulator does not wait for who reads its lines",
        "cli/_console.py",
        "if not _takes_more(self._results.file):",
        "if False:",
        suite=_EMULATE,
    ),
    _mutant(
        "two-claims",
        "of several who claim a letter one gets it",
        "journal/_dead_letters.py",
        " WHERE id = ? AND resent IS ? AND resent_status IS ?",
        " WHERE id = ? AND (1 OR resent IS ? AND resent_status IS ?)",
        suite=("tests/unit/journal/test_dead_letters_door.py",),
    ),
    _mutant(
        "letters-held-by-all",
        "one at a time sends a directory's letters",
        "journal/_dead_letters.py",
        "            self._hold.enter_context(exclusively(path))\n",
        "            pass\n",
        suite=("tests/unit/journal/test_dead_letters_door.py",),
    ),
    _mutant(
        "letter-marked-ahead",
        "a letter is marked when its request goes out, not when it is handed over",
        "cli/_dead_letters_replay.py",
        "        self._by_body.setdefault(body_of(record), []).append(record.number)\n",
        "        self._by_body.setdefault(body_of(record), []).append(record.number)\n"
        "        self._box.claim(self._letters[record.number])\n",
        suite=_CLAIMS,
    ),
    _mutant(
        "letter-mark-stays",
        "what certainly was not sent is not marked as sent",
        "cli/_dead_letters_replay.py",
        "            if not (error.sent or was_claimed):\n",
        "            if False:\n",
        suite=_CLAIMS,
    ),
    _mutant(
        "letter-mark-goes",
        "what was perhaps sent stays marked, though a later connection is refused",
        "cli/_dead_letters_replay.py",
        "            if not (error.sent or was_claimed):\n",
        "            if not error.sent:\n",
        suite=_CLAIMS,
    ),
    _mutant(
        "claimed-out-of-time",
        "a timeout that is due comes before the letter's request",
        "cli/_dead_letters_replay.py",
        "for _ in range(_TURNS_FOR_A_TIMEOUT):",
        "for _ in range(0):",
        suite=_CLAIMS,
    ),
    _mutant(
        "doubtful-sent-again",
        "an order without an id that was under way at a kill is not sent again unasked",
        "cli/_dead_letters_replay.py",
        '(letter.kind == "cart" or letter.order_id is not None)',
        "True",
        suite=_LETTERS,
    ),
    _mutant(
        "left-behind",
        "what a dead run left as being sent is taken up",
        "cli/_dead_letters_replay.py",
        '(letter.kind == "cart" or letter.order_id is not None)',
        "False",
        suite=_LETTERS,
    ),
    _mutant(
        "all-is-well",
        "letters that are in doubt or failed again end the command with 1",
        "cli/_dead_letters_replay.py",
        "return 1 if len(letters) > arrived else 0",
        "return 1 if counts[_Standing.WAITS] else 0",
        suite=_LETTERS,
    ),
    _mutant(
        "exponent-too-much",
        "a number that Decimal cannot hold is a refusal like any other",
        "emulator/_contract.py",
        "    except InvalidOperation:  # beyond what Decimal itself can hold\n",
        "    except MemoryError:\n",
        suite=("tests/properties/test_emulator_bodies.py",),
    ),
    _mutant(
        "all-bad-items",
        "an order of thousands of bad items is not looked at to its end",
        "cli/_lines.py",
        "            if len(refused) == _MOST_BAD_ITEMS:\n",
        "            if False:\n",
        suite=("tests/unit/cli/test_parsing.py",),
    ),
    _mutant(
        "spilled-overtaken",
        "what comes while events are on disk alone joins them",
        "_queue/admission.py",
        "self._granted or self.spill.count\n",
        "self._granted\n",
        suite=_SPILL,
    ),
    _mutant(
        "checkout-overtakes-its-own",
        "a checkout overtakes none of its own lane on disk",
        "_queue/admission.py",
        "(not is_checkout or self.spill.of(lane))",
        "not is_checkout",
        suite=_SPILL,
    ),
    _mutant(
        "checkout-waits-for-the-disk",
        "a checkout need not wait behind other lanes on disk",
        "_queue/admission.py",
        "(not is_checkout or self.spill.of(lane))",
        "True",
        suite=_SPILL,
    ),
    _mutant(
        "one-visitor-fills-the-disk",
        "one visitor has no more on disk than in memory",
        "_queue/admission.py",
        "            waiting += self.spill.of(lane)\n",
        "            pass\n",
        suite=_SPILL,
    ),
    _mutant(
        "pages-overfill-memory",
        "a page takes no more than the room that there is",
        "_queue/admission.py",
        "min(self._room_for_page, MAX_ROWS_PER_PAGE)",
        "MAX_ROWS_PER_PAGE",
        suite=_SPILL,
    ),
    _mutant(
        "spills-past-callers",
        "no event goes to disk past callers of its lane that wait",
        "_queue/queue.py",
        "if lane.callers is not None and not lane.callers.are_behind(ticket):",
        "if False:",
        suite=_SPILL,
    ),
    _mutant(
        "spills-without-room",
        "a disk without room takes nothing more",
        "_queue/queue.py",
        "not self.admission.is_full(lane) and self._journal.has_room",
        "not self.admission.is_full(lane)",
        suite=_SPILL,
    ),
    _mutant(
        "callers-never-sent-to-disk",
        "those who wait go to disk as soon as it has room",
        "_queue/queue.py",
        "        self.admission.send_to_disk()\n",
        "",
        suite=_SPILL,
    ),
    _mutant(
        "spilled-is-ambiguous",
        "what this process had on disk was not sent",
        "_queue/queue.py",
        "            details.order_id, details.send_mark = row.order_id, row.guard\n",
        "            details.order_id, details.send_mark = row.order_id, row.guard\n"
        "            details.ambiguous = True\n",
        suite=_SPILL,
    ),
    _mutant(
        "spilled-passes-held",
        "what comes back stays behind a dead process's rows of its lane",
        "_queue/queue.py",
        "        elif is_held:\n",
        "        elif False:\n",
        suite=_SPILL,
    ),
    _mutant(
        "lost-on-disk-uncounted",
        "what the journal lost is counted, and told to who holds its receipt",
        "_queue/queue.py",
        "            self._end_unseen({OutcomeStatus.ABANDONED: count}, receipts, now, _LOST)\n",
        "            pass\n",
        suite=_SPILL,
    ),
    _mutant(
        "not-on-disk-called-kept",
        "what is not on disk is not called kept",
        "_queue/queue.py",
        "        kept = self._spill.on_disk(self._holds)\n",
        "        kept = self._spill.count\n",
        suite=_SPILL,
    ),
    _mutant(
        "flush-forgets-spilled",
        "flush waits for what is on disk alone",
        "_queue/queue.py",
        "        generation.unsettled += 1\n        awaited",
        "        awaited",
        suite=_SPILL,
    ),
    _mutant(
        "drain-forgets-spilled",
        "close drains what is on disk alone",
        "_queue/settlement.py",
        "drained is None or drained.done() or self.spill.count:",
        "drained is None or drained.done():",
        suite=_SPILL,
    ),
    _mutant(
        "sheds-past-the-disk",
        "nothing is shed for what would overtake the disk",
        "_delivery/submission.py",
        " and not self._queue.spilled\n",
        "\n",
        suite=_SPILL,
    ),
    _mutant(
        "awaited-receipt-collected",
        "who waits for a receipt holds it",
        "_queue/envelope.py",
        "            self._awaited.add(self)\n",
        "            pass\n",
        suite=_SPILL,
    ),
    _mutant(
        "receipt-held-for-ever",
        "a receipt that nobody waits for any more costs nothing",
        "_queue/envelope.py",
        "        if not self._result:\n            self._awaited.discard(self)\n",
        "",
        suite=_SPILL,
    ),
    _mutant(
        "unreadable-journal-given-up",
        "a journal that cannot be read is tried again",
        "_delivery/paging.py",
        "                continue\n",
        "                return\n",
        suite=_SPILL,
    ),
    _mutant(
        "spilled-stays-in-memory",
        "a spilled event leaves memory once it is on disk",
        "journal/_active_file.py",
        "        self._unsettled.forget_events(self.written, self.unwritable)\n",
        "",
        suite=_SPILL,
    ),
    _mutant(
        "lost-file-takes-spilled-along",
        "rows that the disk alone has are copied from a lost file",
        "journal/_active_file.py",
        "            lost = self._copy_spilled(old, file)\n",
        "            lost: list[int] = []\n",
        suite=_SPILL,
    ),
    _mutant(
        "all-rows-are-spilled",
        "what is in memory is not read back",
        "journal/_unsettled.py",
        "if isinstance(row, DiskRow) or row.spilled)",
        ")",
        suite=_SPILL,
    ),
    _mutant(
        "spill-fills-the-file",
        "spilling ends before the file is full",
        "journal/_active_file.py",
        " and not self._is_nearly_full\n",
        "\n",
        suite=_SPILL,
    ),
    _mutant(
        "spill-outruns-the-disk",
        "what waits for the disk is bounded",
        "journal/_writer.py",
        "waiting + own.last - own.written < _MAX_ROWS_WAITING",
        "True",
        suite=_SPILL,
    ),
    _mutant(
        "key-not-tried-first",
        "a mistyped company key costs a replay twenty requests",
        "cli/_sending.py",
        "        if self._tally.accepted >= FIRST_EVENTS:\n",
        "        if False:\n",
        suite=("tests/integration/test_cli_truth.py",),
    ),
    _mutant(
        "making-not-taken-back",
        "the first page of a killed maker is taken back",
        "journal/_sqlite.py",
        "        _take_back_making(path, busy_timeout)\n",
        "",
        suite=_BIRTH,
    ),
    _mutant(
        "foreign-rollback-left",
        "a file beside which a foreign rollback stands is salvaged",
        "journal/_sqlite.py",
        "        return True  # what is to be rolled back",
        "        return False  # what is to be rolled back",
        suite=_BIRTH,
    ),
    _mutant(
        "publisher-lingers",
        "a publisher does not linger",
        "relay/_publisher.py",
        "_LINGER: Final = 0.0\n",
        "_LINGER: Final = 0.5\n",
        suite=_RELAY,
    ),
    _mutant(
        "id-per-attempt",
        "every attempt of an event carries the same id",
        "_delivery/carrying.py",
        "            details.identity = identity\n",
        "            self._token += 'x'\n",
        suite=_RELAY,
    ),
    _mutant(
        "id-of-the-process",
        "an event in a journal keeps its id over a restart",
        "_delivery/carrying.py",
        "            if series is None or envelope.row_id is None:\n",
        "            if True:\n",
        suite=_RELAY,
    ),
    _mutant(
        "connection-not-fenced",
        "waiting for a connection is no failed attempt",
        "_delivery/carrying.py",
        "        return self._carrier.is_open\n",
        "        return True\n",
        suite=_RELAY,
    ),
    _mutant(
        "backoffs-outlast-recovery",
        "once the broker takes events again, nobody waits in backoff",
        "_delivery/dispatcher.py",
        "        self._queue.shorten_backoffs(now, now)\n",
        "        self._queue.shorten_backoffs(now, float('inf'))\n",
        suite=_RELAY,
    ),
    _mutant(
        "letter-id-per-run",
        "a letter is published again under an id of its own, whichever run tries",
        "relay/_letters.py",
        '        return f"{self._stream}/{self._made}/{number}"\n',
        '        return f"{self._stream}/{id(self)}/{number}"\n',
        suite=(_SECOND_EVENT,),
    ),
    _mutant(
        "letter-removed-first",
        "a broker's letter goes once the broker has its event, and not before",
        "cli/_dead_letters_republish.py",
        "            await self._tried(partial(self._letters.publish, parcel))\n",
        "            await self._tried(partial(self._letters.remove, letter.id))\n"
        "            await self._tried(partial(self._letters.publish, parcel))\n",
        suite=(f"{_BROKER_LETTERS}::test_what_is_larger_than_the_broker_takes_stays",),
    ),
    _mutant(
        "relay-not-fenced",
        "without a confirmation for two thirds of a lease, nothing more is sent",
        "relay/_session.py",
        "        if now() - oldest < self._lease * _FENCED_AFTER:\n",
        "        if True:\n",
        suite=_RELAY,
    ),
    _mutant(
        "lease-not-extended",
        "a lease is extended while an event is held",
        "relay/_session.py",
        "            await self._extend_some(list(self._confirmed))\n",
        "            pass\n",
        suite=_RELAY,
    ),
    _mutant(
        "acknowledged-before-settled",
        "an event is settled before it is acknowledged",
        "relay/_session.py",
        "            outcome = await envelope\n",
        "            await self._source.done(held.lease)\n            outcome = await envelope\n",
        suite=_RELAY,
    ),
    _mutant(
        "given-up-is-acknowledged",
        "what the relay itself gives up is not acknowledged",
        "relay/_session.py",
        "            if outcome.status in _SETTLED:\n",
        "            if outcome.status in _SETTLED | {OutcomeStatus.KEPT}:\n",
        suite=_RELAY,
    ),
    _mutant(
        "not-given-back",
        "what a drain leaves is given back at once",
        "relay/_session.py",
        "                await self._source.give_back(held.lease)\n",
        "                pass\n",
        suite=_RELAY,
    ),
    _mutant(
        "outage-counts-as-poison",
        "attempts during an outage do not count",
        "relay/_session.py",
        "        if held.settled_before >= 0 and self._settled_count > held.settled_before:\n",
        "        if True:\n",
        suite=_RELAY,
    ),
    _mutant(
        "relay-waits-for-preconditions",
        "precondition retries are off in a relay",
        "relay/_relay.py",
        "RetryPolicy(precondition_retries=0)\n        self._http",
        "RetryPolicy()\n        self._http",
        suite=_RELAY,
    ),
    _mutant(
        "two-out-of-a-partition",
        "one event of a partition is out at a time",
        "relay/_topology.py",
        '        "max_ack_pending": 1,\n',
        '        "max_ack_pending": 2,\n',
        suite=_RELAY,
    ),
    _mutant(
        "deadlines-start-anew",
        "deadlines travel",
        "relay/_deliverer.py",
        "            age=age,\n",
        "            age=0.0,\n",
        suite=_RELAY,
    ),
    _mutant(
        "lease-from-arrival",
        "a lease counts from the last answered ping, not from its arrival",
        "relay/_jetstream.py",
        "token = _Token(partition, message.reply, self._answered_at + topology.lease)\n",
        "token = _Token(partition, message.reply, now() + topology.lease)\n",
        suite=("tests/integration/test_relay_late.py",),
    ),
    _mutant(
        "publishes-in-a-storm",
        "a broker that opens and takes nothing is not asked again and again at once",
        "relay/_publisher.py",
        "await asyncio.sleep(tried_at + _SECONDS_BETWEEN_TRIES - loop.time())\n",
        "await asyncio.sleep(0.0 if failed is None else _SECONDS_BETWEEN_TRIES)\n",
        suite=_RELAY,
    ),
    _mutant(
        "full-is-deaf",
        "a relay that is full hears soon that its connection is lost",
        "relay/_session.py",
        "            await self._extend_some(list(self._confirmed)[:1])\n",
        "            pass\n",
        suite=_RELAY,
    ),
)
