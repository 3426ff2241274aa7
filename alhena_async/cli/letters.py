"""`alhena dead-letters`: look at what ended badly, take it out, send it again, let it go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from alhena_async.cli.display import Screen
from alhena_async.cli.journal import DIRECTORY
from alhena_async.cli.letters_export import export_letters
from alhena_async.cli.letters_replay import LetterReplay, ReplayOptions
from alhena_async.cli.letters_view import plain, shown, table
from alhena_async.cli.moments import Moment
from alhena_async.cli.options import CommandError, Seconds
from alhena_async.cli.running import run
from alhena_async.cli.text import count, plural
from alhena_async.errors import JournalError
from alhena_async.journal._letter import Letter, Wanted
from alhena_async.journal._letters import LetterBox
from alhena_async.journal._survey import open_letters
from alhena_async.policies import Region

__all__ = ["dead_letters"]

Command = TypeVar("Command", bound=Callable[..., Any])

_MOMENT: Final = Moment(time.time)
_STATUSES: Final = ("rejected", "expired", "unknown", "dropped", "unreadable")
_WANTED: Final = (
    click.option("--code", "codes", multiple=True, metavar="CODE", help="Refused with this code."),
    click.option(
        "--status", "statuses", multiple=True, metavar="STATUS", type=click.Choice(_STATUSES),
        help=f"Ended so: {', '.join(_STATUSES)}.",
    ),
    click.option("--kind", "kinds", multiple=True, type=click.Choice(["cart", "checkout"])),
    click.option("--company-key", "company_keys", multiple=True, metavar="KEY"),
    click.option("--id", "ids", type=int, multiple=True, metavar="N", help="This letter."),
    click.option(
        "--since", type=_MOMENT, metavar="WHEN",
        help="Ended then or later: an ISO time, or an age such as 2h or 3d.",
    ),
    click.option("--until", type=_MOMENT, metavar="WHEN", help="Ended before then."),
    click.option("--resent/--not-resent", default=None, help="Sent again, or not yet."),
    click.option(
        "--limit", type=click.IntRange(min=1), metavar="N", help="The oldest N of them at most."
    ),
)  # fmt: skip


def _wanted_options(command: Command) -> Command:
    """Give a command the options that say which letters; they arrive as `wanted`."""
    for option in reversed(_WANTED):
        command = option(command)
    return command


@click.group("dead-letters", short_help="Look at events that ended badly, and send them again.")
def dead_letters() -> None:
    """Look at events that ended badly, and send them again.

    A journal keeps what was rejected, expired, perhaps recorded (unknown) or dropped for want of
    room as dead letters, bounded by number and age. Filters may be given several times: the same
    one widens, different ones narrow.
    """


@dead_letters.command("list", short_help="List them, oldest first.")
@DIRECTORY
@_wanted_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, events included.")
def list_letters(directory: Path, *, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first."""
    screen = Screen()
    with _opened(directory) as box:
        letters = box.select(Wanted(**filters)) if box is not None else []
    if as_json:
        for letter in letters:
            screen.write(plain(letter))
    elif letters:
        screen.show(table(letters, time.time()))
        screen.say("")
        screen.say(plural(len(letters), "dead letter"))
    else:
        screen.say("No dead letters." if not any(filters.values()) else "None that match.")
    raise SystemExit(screen.exit_status)


@dead_letters.command("show", short_help="Show one with its event.")
@DIRECTORY
@click.argument("number", type=int, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(directory: Path, number: int, *, as_json: bool) -> None:
    """Show dead letter N with its reason and its event, fingerprints included."""
    screen = Screen()
    with _opened(directory) as box:
        found = box.select(Wanted(ids=(number,))) if box is not None else []
    if not found:
        raise CommandError(f"{directory} holds no dead letter {number}")
    if as_json:
        screen.write(plain(found[0]))
    else:
        screen.show(*shown(found[0], time.time()))
        screen.say("")
    raise SystemExit(screen.exit_status)


@dead_letters.command(short_help="Write them to a file that `alhena replay` reads.")
@DIRECTORY
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@_wanted_options
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(directory: Path, file: Path, *, force: bool, **filters: Any) -> None:
    """Write dead letters to FILE, one JSON object a line, as `alhena replay` reads them.

    The file holds what your visitors did: it is readable by you alone (mode 0600). - is standard
    output. The letters stay where they are.
    """
    screen = Screen()
    with _opened(directory) as box:
        letters = box.select(Wanted(**filters)) if box is not None else []
    told = export_letters(letters, file, screen, force=force)
    screen.note(told)
    raise SystemExit(screen.exit_status)


@dead_letters.command(short_help="Send them again.")
@DIRECTORY
@_wanted_options
@click.option("--again", is_flag=True, help="Also those that were sent again before.")
@click.option("--base-url", metavar="URL", help="Where to. Default: where each letter was to go.")
@click.option(
    "--region", type=click.Choice([region.value for region in Region]), help="The same, by region."
)
@click.option(
    "--send-as", metavar="KEY", help="Under this company key. Default: each letter's own."
)
@click.option(
    "--give-up-after",
    type=Seconds(min=1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long an event is tried.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1, 1_000),
    default=8,
    show_default=True,
    metavar="N",
    help="Requests at once, at most.",
)
@click.option(
    "--drain",
    type=Seconds(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="After Ctrl-C or SIGTERM: how long to wait for what is under way.",
)
@click.option(
    "--allow-insecure", is_flag=True, help="Permit plain http to a host other than this machine."
)  # fmt: skip
def replay(
    directory: Path,
    *,
    again: bool,
    base_url: str | None,
    region: str | None,
    send_as: str | None,
    give_up_after: float,
    max_in_flight: int,
    drain: float,
    allow_insecure: bool,
    **filters: Any,
) -> None:
    """Send dead letters again, oldest first, each visitor's in order.

    Each is marked with what became of it, and is not sent once more unless --again says so. The
    API takes no timestamps: an event that is sent late counts as of today, so that a late event is
    a wrong event. Think before you send carts of last week. `unknown` ones were perhaps recorded:
    with an order id the API records an order once, without one it may count twice.

    \b
    Exit status:
      0    every one was recorded, now or before, or there was nothing to send
      1    some were not; their new outcomes are noted
      2    it could not begin
      130  Ctrl-C before the end (143: SIGTERM)
    """  # noqa: D301  click wants the character, not the escape
    if base_url is not None and region is not None:
        raise click.UsageError("give --base-url or --region, not both")
    wanted = Wanted(**filters)
    options = ReplayOptions(
        base_url=base_url,
        region=region,
        company_key=send_as,
        give_up_after=give_up_after,
        max_in_flight=max_in_flight,
        drain_timeout=drain,
        allow_insecure=allow_insecure,
    )
    screen = Screen()
    with _opened(directory, to_write=True) as box:
        chosen = box.select(wanted) if box is not None else []
        letters = [letter for letter in chosen if again or letter.resent is None]
        if box is None or not letters:
            told = f": {plural(len(chosen), 'letter')} went before, --again sends them once more"
            screen.say(f"Nothing to send{told if chosen else ''}.")
            raise SystemExit(screen.exit_status)
        status = run(LetterReplay(box, letters, options, screen).run())
    raise SystemExit(status or screen.exit_status)


@dead_letters.command(short_help="Delete them.")
@DIRECTORY
@_wanted_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(directory: Path, *, yes: bool, **filters: Any) -> None:
    """Delete dead letters: all of them, or those that the filters say. Asks first."""
    wanted = Wanted(**filters)
    screen = Screen()
    with _opened(directory, to_write=True) as box:
        chosen: list[Letter] = box.select(wanted) if box is not None else []
        if box is None or not chosen:
            screen.say("Nothing to delete.")
            raise SystemExit(screen.exit_status)
        if not yes:
            question = f"Delete {plural(len(chosen), 'dead letter')} for good?"
            click.confirm(question, abort=True, err=True)
        gone = box.purge(wanted)
    screen.say(f"{count(gone)} deleted.")
    raise SystemExit(screen.exit_status)


@contextmanager
def _opened(directory: Path, *, to_write: bool = False) -> Iterator[LetterBox | None]:
    try:
        box = open_letters(directory, to_write=to_write)
        try:
            yield box
        finally:
            if box is not None:
                box.close()
    except JournalError as error:
        raise CommandError(str(error)) from None
