"""`alhena journal deliver`: sends what dead processes left in a journal's directory."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alhena_async import AlhenaClient, HttpPolicy, Observer, Outcome
from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._format import clean, plural
from alhena_async.cli._inspect import DIRECTORY, check_journal
from alhena_async.cli._options import CommandError, Seconds, json_option
from alhena_async.cli._signals import STOPPED, run
from alhena_async.cli._summary import counted, outcomes, spaced
from alhena_async.errors import AlhenaTimeoutError, JournalError
from alhena_async.events import Event
from alhena_async.journal import FileReport, JournalReport, SQLiteJournal, inspect_journal
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import with_slash

__all__ = ["Delivery", "Plan", "plan_of"]

_NOBODY: Final = "journal-deliver"
"""The client's own company key: each event brings its own."""

_LEFT: Final = frozenset({OutcomeStatus.KEPT, OutcomeStatus.ABANDONED})

_GOOD: Final = frozenset(
    {
        OutcomeStatus.RECORDED,
        OutcomeStatus.DUPLICATE,
        OutcomeStatus.COALESCED,
        OutcomeStatus.UNATTRIBUTED,
    }
)


@attrs.frozen(kw_only=True)
class Plan:
    """What there is to do in a directory."""

    destinations: Counter[str]
    """Events to send, by base URL; a file that has to be salvaged first counts as none."""
    held: tuple[FileReport, ...]
    """Files of processes that live: theirs to deliver."""
    others: tuple[FileReport, ...]
    """Files that cannot be delivered from here."""


def plan_of(found: JournalReport, to: str | None = None) -> Plan:
    """Return what can be delivered of what was found.

    Args:
        found: What the directory holds.
        to: The only destination that is meant; None: all.
    """
    destinations: Counter[str] = Counter()
    others = []
    free = [one for one in found.files if not one.is_held]
    for one in free:
        if one.destination is None or not one.destination.startswith(("http://", "https://")):
            if _holds_something(one):
                others.append(one)
        elif (to is None or one.destination == to) and _holds_something(one):
            destinations[one.destination] += one.carts + one.checkouts
    held = tuple(one for one in found.files if one.is_held)
    return Plan(destinations=destinations, held=held, others=tuple(others))


def _holds_something(one: FileReport) -> bool:
    return bool(one.carts or one.checkouts or one.problem)


class _Watch(Observer):
    """Counts what comes of the events."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.trouble = ""

    def outcome(self, outcome: Outcome) -> None:
        """An event is settled, or stays in the journal."""
        if outcome.status not in _LEFT:
            self.statuses[outcome.status] += 1
            if outcome.status is OutcomeStatus.REJECTED:
                self.codes[outcome.code or "no documented code"] += 1
            self.trouble = ""

    def retry(self, event: Event, delay: float, reason: str) -> None:
        """An attempt failed."""
        del event, delay
        self.trouble = reason


class Delivery:
    """One run over a directory.

    Args:
        directory: Which.
        screen: Where it is told.
        to: The only destination that is meant; None: all.
        timeout: Seconds for all of it.
        allow_insecure: Whether plain http may go to another machine.
    """

    def __init__(
        self,
        directory: Path,
        screen: Screen,
        *,
        to: str | None,
        timeout: float,
        allow_insecure: bool,
    ) -> None:
        self._directory = directory
        self._screen = screen
        self._to = None if to is None else with_slash(to)
        self._timeout = timeout
        self._allow_insecure = allow_insecure
        self._watch = _Watch()
        self._plan = Plan(destinations=Counter(), held=(), others=())

    async def run(self, *, as_json: bool) -> int:
        """Deliver, tell of it, and return the exit status.

        Raises:
            CommandError: The directory, or an `ALHENA_*` variable, cannot be used.
        """
        self._plan = plan_of(await self._inspected(), self._to)
        try:
            async with self._screen.following(self._snapshot):
                await self._deliver()
        except STOPPED:
            await self._report(as_json=as_json)
            raise
        return await self._report(as_json=as_json)

    async def _inspected(self) -> JournalReport:
        try:
            await asyncio.to_thread(check_journal, self._directory)
            return await asyncio.to_thread(inspect_journal, self._directory)
        except JournalError as error:
            raise CommandError(str(error)) from None

    def _snapshot(self) -> Snapshot:
        done, total = self._watch.statuses.total(), self._plan.destinations.total()
        return Snapshot(
            done=done, total=max(done, total), trouble=self._watch.trouble, noun="events"
        )

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout
        for destination in self._plan.destinations:
            client = self._client(destination)
            try:
                await client.start()
                await client.flush(max(0.0, until - loop.time()))
            except JournalError as error:
                raise CommandError(str(error)) from None
            except AlhenaTimeoutError:
                self._screen.note(f"{clean(destination)}: the time is over")
            finally:
                await client.close(0)

    def _journal(self) -> SQLiteJournal:
        # How many letters are kept is for the shop's journal to say: this one lets go of none.
        return SQLiteJournal(
            self._directory,
            dead_letter_limit=10**9,
            dead_letter_age=1e10,
            dead_letter_bytes=1 << 50,
        )

    def _client(self, destination: str) -> AlhenaClient:
        """Return a client as the shop's own would be by this environment."""
        try:
            return AlhenaClient.from_env(
                os.environ,
                company_key=_NOBODY,
                base_url=destination,
                http=HttpPolicy(allow_insecure=self._allow_insecure),
                journal=self._journal(),
                observers=[self._watch],
                enabled=True,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None

    # --- what came of it -----------------------------------------------------------------------

    async def _report(self, *, as_json: bool) -> int:
        left = plan_of(await self._looked_again())
        if as_json:
            self._screen.write(json.dumps(self._plain(left), indent=2))
        else:
            for sentence in self._sentences(left):
                self._screen.say(sentence)
            codes = counted("Refused because", "Events", self._watch.codes)
            self._screen.show(*spaced([*outcomes(self._watch.statuses), *codes]))
            self._screen.say("")
        bad = [status for status in self._watch.statuses if OutcomeStatus(status) not in _GOOD]
        return int(bool(bad or left.destinations or left.others))

    async def _looked_again(self) -> JournalReport:
        try:
            return await asyncio.to_thread(inspect_journal, self._directory)
        except JournalError as error:
            raise CommandError(str(error)) from None

    def _sentences(self, left: Plan) -> Sequence[str]:
        told = [
            f"{plural(number, 'event')} for {destination} still waiting"
            + (": a file cannot be read" if not number else "")
            for destination, number in left.destinations.items()
        ]
        told += [f"left alone: {_said(one)}, which a running process holds" for one in left.held]
        told += [f"not to be delivered from here: {_said(one)}" for one in left.others]
        if not (told or self._watch.statuses):
            told = ["nothing was left to deliver"]
        return told

    def _plain(self, left: Plan) -> dict[str, Any]:
        return {
            "directory": str(self._directory),
            "outcomes": dict(self._watch.statuses),
            "refused": dict(self._watch.codes),
            "waiting": dict(left.destinations),
            "left_alone": [_plain(one) for one in left.held],
            "not_deliverable": [_plain(one) for one in left.others],
        }


def _said(one: FileReport) -> str:
    events = plural(one.carts + one.checkouts, "event")
    whose = f" of process {one.pid}" if one.pid else ""
    meant = f" for {one.destination}" if one.destination else ""
    why = f" ({one.problem})" if one.problem else ""
    return f"{one.path.name}{whose} with {events}{meant}{why}"


def _plain(one: FileReport) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "pid": one.pid,
        "events": one.carts + one.checkouts,
        "destination": one.destination,
        "problem": one.problem,
    }


@click.command(short_help="Send what dead processes left, without the shop.")
@DIRECTORY
@click.option(
    "--to", metavar="URL", help="Only what is meant for this base URL. Default: whatever is left."
)
@click.option(
    "--timeout",
    type=Seconds(min=0),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="For all of it. What is not delivered by then stays in the journal.",
)
@click.option(
    "--allow-insecure",
    is_flag=True,
    help="Permit plain http to a host other than this machine.",
)
@json_option
def deliver(
    directory: Path, *, to: str | None, timeout: float, allow_insecure: bool, as_json: bool
) -> None:
    """Send what dead processes left in a journal's directory, without the shop.

    Each event goes to the base URL that it was accepted for, under its own company key, in order
    per visitor, as the shop's next start would send it: what is too old expires, what is refused
    becomes a dead letter. The settings are those of this environment (alhena settings).

    Files that a running process holds are left alone: it delivers them itself. While this command
    runs, what it has taken is not for others; Ctrl-C, or a kill, leaves the rest as it was.

    \b
    Exit status:
      0    all is recorded, or its visitor has no conversation; or nothing was left
      1    something still waits, was refused, has expired, or may have been recorded
      2    it could not begin
      130  Ctrl-C (143: SIGTERM)

    \b
    Examples:
      alhena journal inspect var/alhena
      alhena journal deliver var/alhena
      ALHENA_MAX_RATE=50 alhena journal deliver var/alhena --timeout 3600 --json
    """  # noqa: D301  click wants the character, not the escape
    screen = Screen()
    delivery = Delivery(directory, screen, to=to, timeout=timeout, allow_insecure=allow_insecure)
    status = run(delivery.run(as_json=as_json))
    raise SystemExit(status or screen.exit_status)
