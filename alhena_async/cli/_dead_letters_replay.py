"""Sending dead letters again, through the client's ordinary lanes, and noting what became of each.

A letter is marked before it is sent: should this process die, it is not sent once more unknowingly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import attrs
from rich.console import RenderableType

from alhena_async import (
    AlhenaClient,
    AlhenaError,
    CheckoutEvent,
    HttpPolicy,
    JournalError,
    OutcomeStatus,
    QueuePolicy,
    Receipt,
    RetryPolicy,
)
from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._format import clean, plural
from alhena_async.cli._options import CommandError
from alhena_async.cli._sending import Trouble
from alhena_async.cli._signals import Stopping
from alhena_async.cli._summary import counted, outcomes, spaced
from alhena_async.cli._tally import count_cause, refusal_of
from alhena_async.events import Event
from alhena_async.journal._dead_letters import DeadLetter, DeadLetterStore
from alhena_async.journal._rows import event_of
from alhena_async.observers import BreakerState

__all__ = ["LetterReplay", "ReplayOptions"]

_SENDING = "sending"
"""What a letter is marked with while it is under way; it stays so if this process dies."""

_UNSENT = frozenset({OutcomeStatus.ABANDONED, OutcomeStatus.DROPPED})

_CAPACITY = 1_000


@attrs.frozen(kw_only=True)
class ReplayOptions:
    """Where to, and how."""

    base_url: str | None
    """None: where each letter was to go."""
    region: str | None
    company_key: str | None
    """None: each letter's own."""
    give_up_after: float
    """Seconds."""
    max_in_flight: int
    drain_timeout: float
    """Seconds for what is under way when the run is stopped."""
    allow_insecure: bool


class LetterReplay:
    """One run.

    Args:
        box: Where the letters are; they are marked there.
        letters: What to send, oldest first.
        options: Where to, and how.
        screen: Where it is told.
    """

    def __init__(
        self,
        box: DeadLetterStore,
        letters: Sequence[DeadLetter],
        options: ReplayOptions,
        screen: Screen,
    ) -> None:
        self._box = box
        self._letters = letters
        self._options = options
        self._screen = screen
        self._trouble = Trouble()
        self._statuses: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._unreadable = 0
        self._not_ok = 0
        self._problem = ""
        self._client: AlhenaClient | None = None

    async def run(self) -> int:
        """Send; return the exit status.

        Raises:
            CommandError: It could not begin.
        """
        clients = self._clients()
        with Stopping(self._screen.abandon) as stopping:
            async with self._screen.following(self._look):
                whole = True
                for client, letters in clients:
                    whole = whole and await self._send_to(client, letters, stopping)
        self._show()
        if whole and not (self._not_ok or self._unreadable or self._problem):
            self._screen.say("Every one was recorded, now or before.", "bold green")
            return 0
        return stopping.exit_status if stopping.signalled and not whole else 1

    def _clients(self) -> list[tuple[AlhenaClient, list[DeadLetter]]]:
        """One client for each destination, with its letters; none is started."""
        by_destination: dict[str, list[DeadLetter]] = {}
        for letter in self._letters:
            chosen = self._options.base_url or self._options.region or letter.destination
            by_destination.setdefault(chosen, []).append(letter)
        return [(self._client_for(letters[0]), letters) for letters in by_destination.values()]

    def _client_for(self, letter: DeadLetter) -> AlhenaClient:
        options = self._options
        where = {"base_url": options.base_url or letter.destination}
        if options.region is not None:
            where = {"region": options.region}
        try:
            return AlhenaClient(
                options.company_key or letter.company_key,
                **where,  # type: ignore[arg-type]  # one of the two
                coalescing="off",
                queue=QueuePolicy(
                    capacity=_CAPACITY, linger=0.0, max_in_flight=options.max_in_flight
                ),
                retry=RetryPolicy(
                    cart_delivery_timeout=options.give_up_after,
                    checkout_delivery_timeout=options.give_up_after,
                    precondition_retries=0,
                    # What had no order id went without; an id now would hide that it may be twice.
                    assign_order_ids=False,
                ),
                http=HttpPolicy(allow_insecure=options.allow_insecure),
                observers=[self._trouble],
            )
        except (ValueError, TypeError) as error:
            raise CommandError(str(error)) from None

    async def _send_to(
        self, client: AlhenaClient, letters: Sequence[DeadLetter], stopping: Stopping
    ) -> bool:
        if stopping.signalled or self._problem:
            return False
        self._client = client
        self._screen.note(f"Sending {plural(len(letters), 'dead letter')} to {client.base_url}")
        await client.start()
        try:
            return await stopping.run(self._send(client, letters), name="alhena-cli-letters")
        except AlhenaError as error:
            self._problem = f"{type(error).__name__}: {error}"
            return False
        finally:
            await client.close(self._options.drain_timeout)

    async def _send(self, client: AlhenaClient, letters: Sequence[DeadLetter]) -> None:
        receipts: list[Receipt] = []
        for letter in letters:
            event = _event(letter)
            if event is None:
                self._unreadable += 1
                continue
            self._box.note_resent(letter.id, _SENDING)
            company_key = self._options.company_key or letter.company_key
            try:
                receipt = await client.track(event, company_key=company_key)
            except BaseException:
                self._box.note_unsent(letter)  # it waited for room
                raise
            receipt.add_done_callback(partial(self._settled, letter))
            receipts.append(receipt)
        await client.flush()

    def _settled(self, letter: DeadLetter, receipt: Receipt) -> None:
        outcome = receipt.outcome
        assert outcome is not None  # noqa: S101  for mypy; it is called once there is one
        self._statuses[outcome.status.value] += 1
        self._not_ok += not outcome.ok
        refusal = refusal_of(outcome)
        if refusal is not None:
            count_cause(self._codes, refusal)
        untouched = outcome.status in _UNSENT and not (outcome.attempts or outcome.ambiguous)
        try:
            if untouched:
                self._box.note_unsent(letter)
            else:
                told = outcome.code or outcome.detail
                self._box.note_resent(letter.id, outcome.status.value, told)
        except JournalError as error:
            self._problem = str(error)

    def _look(self) -> Snapshot:
        done = self._statuses.total() + self._unreadable
        client = self._client
        fails = client is not None and client.stats().breaker is not BreakerState.CLOSED
        why = self._trouble.last or "the API fails"
        return Snapshot(
            done=done,
            total=len(self._letters),
            trouble=f"waiting: {clean(why, limit=120)}" if fails else "",
            noun="letters",
        )

    def _show(self) -> None:
        blocks: list[RenderableType] = [
            *outcomes(self._statuses),
            *counted("Refused because", "Events", self._codes),
            *counted("Given up because", "Events", self._trouble.given_up),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")
        if self._unreadable:
            told = "no events any more and cannot be sent"
            self._screen.say(f"{plural(self._unreadable, 'letter')}: {told}.", "yellow")
        left = len(self._letters) - self._statuses.total() - self._unreadable
        if left:
            self._screen.say(f"Not sent: {plural(left, 'letter')}.", "bold yellow")
        if self._problem:
            self._screen.say(f"It stopped: {self._problem}", "bold red")


def _event(letter: DeadLetter) -> Event | None:
    """The event under the order id that it was sent with: the API knows it by that."""
    if letter.status == "unreadable":
        return None
    try:
        event = event_of(letter.body)
    except ValueError:
        return None
    if isinstance(event, CheckoutEvent) and letter.order_id is not None:
        return attrs.evolve(event, order_id=letter.order_id)
    return event
