"""`alhena replay`: a file of events, into a real or an emulated API, to be gone on with."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

import attrs
import click

from alhena_async.cli._console import Screen
from alhena_async.cli._format import clean, count, plural
from alhena_async.cli._input import Identity, Reader
from alhena_async.cli._lines import DERIVED, NOT_DERIVED, Reading, Record, Reject
from alhena_async.cli._options import CommandError, SendingOptions, identified
from alhena_async.cli._progress import ProgressError, ProgressFile, RunKey, default_progress_path
from alhena_async.cli._rejects import NoRejectsFileError, RejectsFile, default_rejects_path
from alhena_async.cli._sending import Notes, Pacer, Sender, Trouble
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._summary import endings, revenue, run_facts, spaced, truth
from alhena_async.cli._tally import Allowance, Ending, Tally
from alhena_async.outcomes import Outcome
from alhena_async.policies import Coalescing

_GOING_ON = frozenset({"--resume", "--restart"})


@attrs.frozen(kw_only=True)
class ReplayOptions:
    """What to replay, where to, and how: the command's options by their names.

    Raises:
        click.UsageError: They do not go together.
    """

    file: str
    """A path, or `-` for standard input."""
    sending: SendingOptions
    company_key: str | None
    """None only where nothing is sent."""
    coalescing: Coalescing = attrs.field(converter=Coalescing)
    outstanding: int
    """Events handed over and not yet answered, at most."""
    rate: float | None
    """Events a second at most."""
    speed: float | None
    """How many times as fast as the timestamps."""
    name_from_id: bool
    derive_visitors: bool
    """Send invented fingerprints to another machine."""
    allow_rejects: Allowance
    check: bool
    """Only read and tell."""
    rejects: Path | None
    """None: beside where the command runs, by the input's name."""
    progress: Path | None
    """None: likewise for a file; for standard input none is kept."""
    resume: bool
    restart: bool

    def __attrs_post_init__(self) -> None:
        if self.company_key is None and not self.check:
            raise click.UsageError("missing option --company-key (or ALHENA_COMPANY_KEY)")
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
        return Reading(
            name_from_id=self.name_from_id,
            timed=self.speed is not None,
            derive_visitors=self.derive_visitors or self.check or self.sending.stays_here,
        )

    @property
    def rejects_path(self) -> Path:
        """Where lines go that are no events."""
        return self.rejects or default_rejects_path(self.file)

    @property
    def progress_path(self) -> Path | None:
        """Where settled lines are noted; None: nowhere, and the run cannot be gone on with."""
        return self.progress or default_progress_path(self.file)

    @property
    def pacer(self) -> Pacer | None:
        """When the next event may go; None: at once."""
        if self.rate is None and self.speed is None:
            return None
        return Pacer(rate=self.rate, speed=self.speed)


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
        self._key = options.company_key or ""
        self._client = options.sending.client(
            self._key,
            observer=self._trouble,
            outstanding=options.outstanding,
            coalescing=options.coalescing,
        )
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
            identity = await identified(reader, self._options.file)
            check_visitors(reader.first, self._options.file, self._client.base_url)
            rejects = self._open_files(identity, stack)
            sender = Sender(
                self._client,
                self._tally,
                self._trouble,
                self._screen,
                drain_timeout=self._options.sending.drain,
                outstanding=self._options.outstanding,
                pacer=self._options.pacer,
                notes=None if self._progress is None else _LineNotes(self._progress),
                rejects=rejects,
                company_key=self._key,
            )
            skip = self._progress.earlier.lines if self._progress is not None else ()
            try:
                await sender.run(reader, skip)
            except STOPPED:
                self._conclude(sender, reader)
                raise
            return self._conclude(sender, reader)

    def _announce(self) -> None:
        self._screen.note(f"Replaying {self._options.file} to {self._client.base_url}")
        if self._options.sending.stays_here:
            return
        self._screen.note(
            "Note: the API takes no timestamps, so old events count as today's; and stores on "
            "Shopify are recorded by Alhena itself.",
            "yellow",
        )
        if self._options.derive_visitors:
            self._screen.note(f"Note: {DERIVED}", "yellow")

    def _open_files(self, identity: Identity, stack: ExitStack) -> RejectsFile:
        options = self._options
        try:
            rejects = RejectsFile(options.rejects_path)
            if options.progress_path is not None:
                key = RunKey(
                    input=identity, destination=self._client.base_url, company_key=self._key
                )
                self._progress = ProgressFile(
                    options.progress_path, key, resume=options.resume, restart=options.restart
                )
                stack.callback(self._progress.close)
                self._tally = self._progress.earlier.tally
                if self._progress.forgotten:
                    was = self._progress.forgotten
                    self._screen.note(f"{options.progress_path} was of {was}: started over")
            return stack.enter_context(rejects)
        except (ProgressError, NoRejectsFileError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            what = error.filename or options.progress_path
            raise CommandError(f"cannot write {what}: {error.strerror}") from None

    def _conclude(self, sender: Sender, reader: Reader) -> int:
        """Tell of the run; return the exit status of one that was not cancelled."""
        if not sender.knows_company:
            self._forget()
            self._screen.say(sender.problem, "bold red")
            return 1
        has_grown = reader.has_grown()
        whole = sender.whole and not has_grown
        status = self._tally.exit_status(self._options.allow_rejects) if whole else 1
        is_complete = whole and not self._tally.unanswered
        if is_complete and self._progress is not None and reader.found is not None:
            self._progress.complete(reader.found)
        self._show(sender)
        self._tell_of_lines()
        if not is_complete:
            self._tell_why(sender, has_grown=has_grown)
            if not has_grown or self._tally.unanswered:
                self._tell_what_is_left(reader.total)
            self._tell_how_to_go_on()
        tell_truth(self._tally, self._screen, status=status)
        return status

    def _forget(self) -> None:
        """Let go of a progress file that tells of nothing, so that another key can begin."""
        if self._progress is not None and not self._tally.settled:
            self._progress.forget()

    def _show(self, sender: Sender) -> None:
        blocks = [
            run_facts(self._tally, sender.stats, sender.seconds),
            *endings(self._tally, self._trouble.given_up),
            *revenue(self._tally, "In the file" if sender.whole else "Read so far"),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")

    def _tell_of_lines(self) -> None:
        tally = self._tally
        if tally.rejected:
            told = f"{plural(tally.rejected, 'line')} with reasons in {self._options.rejects_path}"
            self._screen.say(told)
        if tally.skipped and not tally.accepted:
            self._screen.say("Nothing was left to send.")
        if tally.statuses["unattributed"] and tally.derived and not tally.recorded_events:
            self._screen.say(f"Note: {DERIVED}", "yellow")

    def _tell_why(self, sender: Sender, *, has_grown: bool) -> None:
        line = count(self._tally.upto)
        if sender.problem:
            self._screen.say(f"It stopped after line {line}: {sender.problem}", "bold red")
        elif not sender.whole:
            self._screen.say("Interrupted.", "bold yellow")
        elif has_grown:
            told = f"{self._options.file} has grown meanwhile: more stands behind line {line}."
            self._screen.say(told, "bold yellow")

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

    def _tell_how_to_go_on(self) -> None:
        if self._progress is not None:
            self._screen.say("Go on with:")
            self._screen.write(clean(f"  {command_to_resume(sys.argv)}", limit=10_000))
        else:
            self._screen.say("Without --progress there is no going on from here.")


def check_visitors(first: Record | Reject | None, file: str, destination: str) -> None:
    """Refuse an input whose first line would need invented fingerprints that nobody asked for.

    Raises:
        CommandError: It would.
    """
    if isinstance(first, Reject) and NOT_DERIVED in first.reasons:
        raise CommandError(
            f"{file} names visitors by the shop's own ids, and {destination} knows them by their "
            "browsers' fingerprints: give user_fingerprint and user_faq_fingerprint. "
            f"--derive-visitors sends it all the same: {DERIVED}"
        )


def tell_truth(tally: Tally, screen: Screen, *, status: int) -> None:
    """Say what is true of a run, at its very end.

    Args:
        tally: Its account.
        screen: Where.
        status: The exit status.
    """
    is_all = not tally.rejected and tally.recorded_events == tally.statuses.total()
    if is_all and not status:
        screen.say("Every line was recorded.", "bold green")
    style = "bold red" if status else "bold green" if is_all else "yellow"
    for sentence in truth(tally) or ["There was no event in it."]:
        screen.say(sentence, style)


class _LineNotes(Notes):
    """Notes settled lines in a progress file."""

    def __init__(self, progress: ProgressFile) -> None:
        self._progress = progress

    def sending(self, record: Record) -> None:
        self._progress.sending(record.number)

    def ended(self, record: Record, outcome: Outcome, ending: Ending) -> None:  # noqa: ARG002
        if ending.settled:
            self._progress.settled(record.number, ending)


def command_to_resume(argv: list[str]) -> str:
    """Return the command that goes on with a run, from the arguments that it was started with."""
    place = argv.index("replay") + 1
    end = argv.index("--", place) if "--" in argv[place:] else len(argv)
    options = [argument for argument in argv[place:end] if argument not in _GOING_ON]
    return shlex.join(["alhena", "replay", "--resume", *options, *argv[end:]])
