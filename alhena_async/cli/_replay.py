"""`alhena replay`: a file of events, into a real or an emulated API, to be gone on with."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import click

from alhena_async import AlhenaClient
from alhena_async.cli._console import Screen
from alhena_async.cli._format import count, plural
from alhena_async.cli._input import STDIN, Identity, InputBrokenError, Reader
from alhena_async.cli._lines import Reading, Record
from alhena_async.cli._options import CommandError, SendingOptions, cannot_read
from alhena_async.cli._progress import ProgressError, ProgressFile, RunKey
from alhena_async.cli._rejects import NoRejectsFileError, RejectsFile
from alhena_async.cli._sending import Notes, Pacer, Sender, Trouble
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import endings, revenue, run_facts, spaced
from alhena_async.cli._tally import Tally, is_settled, refusal_of
from alhena_async.events import CheckoutEvent
from alhena_async.outcomes import Outcome
from alhena_async.policies import Coalescing, is_loopback

_GOING_ON = frozenset({"--resume", "--restart"})

_SUFFIXES: Final = (".gz", ".jsonl", ".ndjson", ".json")


@attrs.frozen(kw_only=True)
class ReplayOptions:
    """What to replay, where to, and how: the command's options by their names.

    Raises:
        click.UsageError: They do not go together.
    """

    file: str
    """A path, or `-` for standard input."""
    sending: SendingOptions
    company_key: str
    coalescing: Coalescing = attrs.field(converter=Coalescing)
    outstanding: int
    """Events handed over and not yet answered, at most."""
    rate: float | None
    """Events a second at most."""
    speed: float | None
    """How many times as fast as the timestamps."""
    name_from_id: bool
    rejects: Path | None
    """None: beside where the command runs, by the input's name."""
    progress: Path | None
    """None: likewise for a file; for standard input none is kept."""
    resume: bool
    restart: bool

    def __attrs_post_init__(self) -> None:
        if self.resume and self.restart:
            raise click.UsageError("--resume and --restart exclude each other")
        if self.resume and self.progress_path is None:
            raise click.UsageError("--resume of standard input needs the first run's --progress")
        paths = [Path(self.file), self.rejects_path, self.progress_path]
        resolved = [path.resolve() for path in paths if path is not None]
        if len(set(resolved)) < len(resolved):
            raise click.UsageError("FILE, --rejects and --progress must be different files")

    @property
    def reading(self) -> Reading:
        """How lines are read."""
        return Reading(name_from_id=self.name_from_id, timed=self.speed is not None)

    @property
    def rejects_path(self) -> Path:
        """Where lines go that are no events."""
        return self.rejects or Path(f"{self._stem}.rejects.jsonl")

    @property
    def progress_path(self) -> Path | None:
        """Where settled lines are noted; None: nowhere, and the run cannot be gone on with."""
        if self.progress is None and self.file != STDIN:
            return Path(f"{self._stem}.progress.jsonl")
        return self.progress

    @property
    def pacer(self) -> Pacer | None:
        """When the next event may go; None: at once."""
        if self.rate is None and self.speed is None:
            return None
        return Pacer(rate=self.rate, speed=self.speed)

    @property
    def _stem(self) -> str:
        name = "stdin" if self.file == STDIN else Path(self.file).name
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        return name or "input"

    def client(self, trouble: Trouble) -> AlhenaClient:
        """Make the client.

        Raises:
            click.UsageError: The options do not go together.
        """
        return self.sending.client(
            self.company_key,
            observer=trouble,
            capacity=self.outstanding,
            coalescing=self.coalescing,
        )


class Replay:
    """One run.

    Args:
        options: What to replay, where to, and how.
        screen: Where it is told.
    """

    def __init__(self, options: ReplayOptions, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._trouble = Trouble()
        self._client = options.client(self._trouble)
        self._tally = Tally()
        self._progress: ProgressFile | None = None

    async def run(self) -> int:
        """Replay; return the exit status.

        Raises:
            CommandError: The input, the rejects or the progress file cannot be used; nothing was
                sent.
        """
        self._announce()
        with ExitStack() as stack:
            reader = Reader(self._options.file, self._options.reading)
            stack.callback(reader.close)
            rejects = self._open_files(await self._identity_of(reader), stack)
            sender = Sender(
                self._client,
                self._tally,
                self._trouble,
                self._screen,
                drain_timeout=self._options.sending.drain,
                pacer=self._options.pacer,
                notes=None if self._progress is None else _LineNotes(self._progress),
                rejects=rejects,
            )
            skip = self._progress.earlier.lines if self._progress is not None else ()
            try:
                await sender.run(reader, skip)
            except STOPPED:
                self._conclude(sender, reader.total)
                raise
            return self._conclude(sender, reader.total)

    def _announce(self) -> None:
        self._screen.note(f"Replaying {self._options.file} to {self._client.base_url}")
        if not is_loopback(urlsplit(self._client.base_url).hostname or ""):
            self._screen.note(
                "Note: the API takes no timestamps, so old events count as today's; and stores on "
                "Shopify are recorded by Alhena itself.",
                "yellow",
            )

    async def _identity_of(self, reader: Reader) -> Identity:
        try:
            return await reader.identify()
        except (OSError, InputBrokenError) as error:
            raise cannot_read(self._options.file, error) from None

    def _open_files(self, identity: Identity, stack: ExitStack) -> RejectsFile:
        options = self._options
        try:
            rejects = RejectsFile(options.rejects_path)
            if options.progress_path is not None:
                key = RunKey(
                    input=identity,
                    destination=self._client.base_url,
                    company_key=options.company_key,
                )
                self._progress = ProgressFile(
                    options.progress_path, key, resume=options.resume, restart=options.restart
                )
                stack.callback(self._progress.close)
                self._tally = Tally.going_on(self._progress.earlier)
            return stack.enter_context(rejects)
        except (ProgressError, NoRejectsFileError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            what = error.filename or options.progress_path
            raise CommandError(f"cannot write {what}: {error.strerror}") from None

    def _conclude(self, sender: Sender, total: int | None) -> int:
        """Tell of the run; return the exit status of one that was not cancelled."""
        tally = self._tally
        whole = sender.whole and not tally.missing
        if whole and self._progress is not None:
            self._progress.complete()
        self._show(sender)
        if tally.rejected:
            told = f"{plural(tally.rejected, 'line')} with reasons in {self._options.rejects_path}"
            self._screen.say(told)
        if whole:
            if tally.skipped and not tally.accepted:
                self._screen.say("Nothing was left to send.")
            told = "Every line was recorded, refused with a code, or rejected for a stated reason."
            self._screen.say(told, "bold green")
            return 0
        if sender.problem:
            told = f"It stopped after line {count(tally.upto)}: {sender.problem}"
            self._screen.say(told, "bold red")
        elif not sender.whole:
            self._screen.say("Interrupted.", "bold yellow")
        self._tell_what_is_left(total)
        return 1

    def _show(self, sender: Sender) -> None:
        blocks = [
            run_facts(self._tally, sender.stats, sender.seconds),
            *endings(self._tally, self._trouble.given_up),
            *revenue([("Recorded", self._tally.revenue)]),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")

    def _tell_what_is_left(self, total: int | None) -> None:
        tally = self._tally
        if total is None:
            self._screen.say(f"Unfinished: everything after line {count(tally.upto)}.")
        else:
            left = total - tally.done + tally.unsettled
            self._screen.say(f"Left: {plural(left, 'line')} of {count(total)}.")
        if tally.statuses["unknown"]:
            told = "perhaps recorded: they are not sent again"
            self._screen.say(f"{plural(tally.statuses['unknown'], 'event')} {told}.")
        if self._progress is not None:
            self._screen.say("Go on with:")
            self._screen.say(f"  {command_to_resume(sys.argv)}")
        else:
            self._screen.say("Without --progress there is no going on from here.")


class _LineNotes(Notes):
    """Notes settled lines in a progress file."""

    def __init__(self, progress: ProgressFile) -> None:
        self._progress = progress

    def sending(self, record: Record) -> None:
        self._progress.sending(record.number)

    def ended(self, record: Record, outcome: Outcome, counted: Decimal | None) -> None:
        if is_settled(outcome):
            event = outcome.event
            self._progress.settled(
                record.number,
                outcome.status.value,
                code=refusal_of(outcome),
                value=counted,
                currency=event.currency if isinstance(event, CheckoutEvent) else None,
            )


def command_to_resume(argv: list[str]) -> str:
    """Return the command that goes on with a run, from the arguments that it was started with."""
    place = argv.index("replay") + 1
    end = argv.index("--", place) if "--" in argv[place:] else len(argv)
    options = [argument for argument in argv[place:end] if argument not in _GOING_ON]
    return shlex.join(["alhena", "replay", "--resume", *options, *argv[end:]])
