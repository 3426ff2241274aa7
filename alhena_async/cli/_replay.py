"""`alhena replay`: a file of events, into a real or an emulated API, to be gone on with."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import attrs
from rich.console import RenderableType

from alhena_async import AlhenaClient
from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._format import clean, count, duration, plural
from alhena_async.cli._input import Identity, InputBrokenError, Reader
from alhena_async.cli._lines import Reading
from alhena_async.cli._options import CommandError, cannot_read
from alhena_async.cli._progress import ProgressError, ProgressFile, RunKey
from alhena_async.cli._rejects import NoRejectsFileError, RejectsFile
from alhena_async.cli._sending import Pacer, Sender, Trouble
from alhena_async.cli._signals import Stopping
from alhena_async.cli._summary import counted, outcomes, revenue, run_facts, spaced
from alhena_async.cli._tally import Tally
from alhena_async.errors import AlhenaError
from alhena_async.observers import BreakerState, Stats

_GOING_ON = frozenset({"--resume", "--restart"})


@attrs.frozen(kw_only=True)
class ReplaySettings:
    """What to replay, and how."""

    path: str
    """A file, or `-` for standard input."""
    reading: Reading
    company_key: str
    rejects: Path
    progress: Path | None
    """None: the run cannot be gone on with."""
    resume: bool = False
    restart: bool = False
    rate: float | None = None
    """Events a second at most."""
    speed: float | None = None
    """How many times as fast as the timestamps."""
    drain_timeout: float = 10.0
    """Seconds for what is under way when the run is stopped."""


class Replay:
    """One run.

    Args:
        settings: What to replay.
        client: Where to; started and closed by `run`.
        screen: Where it is told.
        trouble: One of the client's observers.
    """

    def __init__(
        self, settings: ReplaySettings, client: AlhenaClient, screen: Screen, trouble: Trouble
    ) -> None:
        self._settings = settings
        self._client = client
        self._screen = screen
        self._trouble = trouble
        self._tally = Tally()
        self._identity: Identity | None = None
        self._progress: ProgressFile | None = None
        self._problem = ""

    async def run(self) -> int:
        """Replay; return the exit status.

        Raises:
            CommandError: The input, the rejects or the progress file cannot be used; nothing was
                sent.
        """
        with ExitStack() as stack:
            stopping = stack.enter_context(Stopping(self._screen.abandon))
            reader = Reader(self._settings.path, self._settings.reading)
            stack.callback(reader.close)
            if not await self._opened(reader, stopping):
                return stopping.exit_status
            rejects = self._open_files(stack)
            sender = Sender(
                self._client,
                self._tally,
                pacer=self._pacer(),
                rejects=rejects,
                progress=self._progress,
                on_failure=lambda error: self._fail(stopping, error),
            )
            began = time.monotonic()
            stats, whole = await self._send(sender, reader, stopping)
            whole = whole and not self._problem
            if whole and not self._tally.missing and self._progress is not None:
                self._progress.complete()
            self._show(stats, time.monotonic() - began)
            return self._conclude(reader.total, stopping, whole=whole)

    async def _opened(self, reader: Reader, stopping: Stopping) -> bool:
        async def identify() -> None:
            self._identity = await reader.identify()

        try:
            return await stopping.run(identify(), name="alhena-cli-open")
        except (OSError, InputBrokenError) as error:
            raise cannot_read(self._settings.path, error) from None

    def _open_files(self, stack: ExitStack) -> RejectsFile:
        settings = self._settings
        assert self._identity is not None  # noqa: S101  for mypy; the input is open
        try:
            rejects = RejectsFile(settings.rejects)
            if settings.progress is not None:
                key = RunKey(
                    input=self._identity,
                    destination=self._client.base_url,
                    company_key=settings.company_key,
                )
                self._progress = ProgressFile(
                    settings.progress, key, resume=settings.resume, restart=settings.restart
                )
                stack.callback(self._progress.close)
                self._tally = Tally.going_on(self._progress.earlier)
            return stack.enter_context(rejects)
        except (ProgressError, NoRejectsFileError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            what = error.filename or settings.progress
            raise CommandError(f"cannot write {what}: {error.strerror}") from None

    def _pacer(self) -> Pacer | None:
        if self._settings.rate is None and self._settings.speed is None:
            return None
        return Pacer(rate=self._settings.rate, speed=self._settings.speed)

    async def _send(self, sender: Sender, reader: Reader, stopping: Stopping) -> tuple[Stats, bool]:
        skip = self._progress.earlier.lines if self._progress is not None else ()
        whole = False
        async with self._screen.following(lambda: self._look(reader)):
            await self._client.start()
            try:
                work = sender.send(reader.batches(skip))
                whole = await stopping.run(work, name="alhena-cli-send")
            except (InputBrokenError, AlhenaError, OSError) as error:
                self._problem = f"{type(error).__name__}: {error}"
            if not whole and self._tally.outstanding:
                self._screen.note(
                    f"Stopping: up to {duration(self._settings.drain_timeout)} for "
                    f"{plural(self._tally.outstanding, 'event')} under way; "
                    "Ctrl-C again ends at once."
                )
            report = await self._client.close(self._settings.drain_timeout)
            await sender.outcomes()
        return report.stats, whole

    def _fail(self, stopping: Stopping, error: OSError) -> None:
        self._problem = f"the progress file cannot be written: {error}"
        stopping.ask()

    def _look(self, reader: Reader) -> Snapshot:
        fails = self._client.stats().breaker is not BreakerState.CLOSED
        why = self._trouble.last or "the API fails"
        return Snapshot(
            done=self._tally.done,
            total=reader.total,
            skipped=self._tally.skipped,
            trouble=f"waiting: {clean(why, limit=120)}" if fails else "",
        )

    def _show(self, stats: Stats, seconds: float) -> None:
        tally = self._tally
        blocks: list[RenderableType] = [
            run_facts(tally, stats, seconds),
            *outcomes(tally.statuses),
            *counted("Refused because", "Events", tally.codes),
            *counted("Given up because", "Events", self._trouble.given_up),
            *counted("No event because", "Lines", tally.causes),
            *revenue([("Recorded", tally.revenue)]),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")

    def _conclude(self, total: int | None, stopping: Stopping, *, whole: bool) -> int:
        tally = self._tally
        if tally.rejected:
            told = f"{plural(tally.rejected, 'line')} with reasons in {self._settings.rejects}"
            self._screen.say(told)
        if whole and not tally.missing:
            if tally.skipped and not tally.accepted:
                self._screen.say("Nothing was left to send.")
            told = "Every line was recorded, refused with a code, or rejected for a stated reason."
            self._screen.say(told, "bold green")
            return 0
        if self._problem:
            self._screen.say(
                f"It stopped after line {count(tally.upto)}: {self._problem}", "bold red"
            )
        elif not whole:
            self._screen.say("Interrupted.", "bold yellow")
        self._tell_what_is_left(total)
        return stopping.exit_status if stopping.signalled and not whole else 1

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


def command_to_resume(argv: list[str]) -> str:
    """Return the command that goes on with a run, from the arguments that it was started with."""
    place = argv.index("replay") + 1
    end = argv.index("--", place) if "--" in argv[place:] else len(argv)
    options = [argument for argument in argv[place:end] if argument not in _GOING_ON]
    return shlex.join(["alhena", "replay", "--resume", *options, *argv[end:]])
