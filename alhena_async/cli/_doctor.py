"""`alhena doctor`: looks at everything that an event has to pass, and says what to do."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from alhena_async.cli._console import Screen
from alhena_async.cli._doctor_journal import journal
from alhena_async.cli._doctor_network import network
from alhena_async.cli._doctor_page import PageError, page_findings
from alhena_async.cli._doctor_settings import Setup, read_setup, versions
from alhena_async.cli._findings import Finding, Level, error, info, is_wrong
from alhena_async.cli._format import clean, plural
from alhena_async.cli._options import CommandError, Seconds, json_option
from alhena_async.cli._signals import run
from alhena_async.cli._threads import in_thread
from alhena_async.policies import Region

__all__ = ["doctor"]

Check = Callable[[], Awaitable[list[Finding]]]


@click.command(short_help="Say what keeps events from arriving, and what to do.")
@click.option("--company-key", metavar="KEY", help="Instead of ALHENA_COMPANY_KEY.")
@click.option(
    "--region",
    type=click.Choice([one.value for one in Region], case_sensitive=False),
    help="Instead of ALHENA_REGION.",
)
@click.option("--base-url", metavar="URL", help="Instead of ALHENA_BASE_URL.")
@click.option(
    "--journal", metavar="DIR", type=click.Path(path_type=Path), help="Instead of ALHENA_JOURNAL."
)
@click.option("--proxy", metavar="URL", help="As HttpPolicy(proxy=...) has it.")
@click.option(
    "--page",
    metavar="FILE|URL",
    help="A page of the shop, saved to a file or served on this machine: is the browser's half in "
    "it?",
)
@click.option(
    "--timeout",
    type=Seconds(min=0.1),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take.",
)
@json_option
def doctor(
    *, page: str | None, proxy: str | None, timeout: float, as_json: bool, **given: Any
) -> None:
    """Say what keeps events from arriving at Alhena, and what to do about it.

    Run it where the service runs, with its environment and as its user. It looks at the settings
    (ALHENA_* variables; what stands in your code it cannot see: give the same as options), the
    versions, the journal's directory, a page of the shop (--page), and
    at the way to the API: DNS, proxy, TLS, host, company key, clock. It changes nothing, and sends
    one request, with a body that cannot be recorded: it holds nothing but the company key.

    With --json: {"findings": [{"level": "ok|info|warning|error", "what": ..., "do": ...}, ...]},
    where "do" is empty if there is nothing to do.

    \b
    Exit status:
      0    nothing is wrong
      1    something is: a finding is a warning or an error
      2    it could not begin: an option is wrong, or the page cannot be read
      130  Ctrl-C (143: SIGTERM)

    \b
    Examples:
      alhena doctor
      alhena doctor --region eu --company-key my-shop --journal var/alhena
      alhena doctor --page http://127.0.0.1:8000/ --json
    """  # noqa: D301  click wants the character, not the escape
    options = {name: value for name, value in given.items() if value is not None}
    try:
        setup, findings = read_setup(os.environ, options, proxy=proxy)
    except (ValueError, TypeError) as problem:
        raise click.UsageError(clean(str(problem))) from None
    findings += run(_look(_checks(setup, page), timeout))
    screen = Screen()
    if as_json:
        plain = [attrs.asdict(one, value_serializer=_plain) for one in findings]
        screen.write(json.dumps({"findings": plain}, indent=2))
    else:
        screen.show(_shown(findings))
        screen.say("")
        screen.say(_verdict(findings))
    raise SystemExit(screen.exit_status or int(is_wrong(findings)))


def _plain(_owner: object, _field: object, value: object) -> object:
    return clean(value, limit=2000) if isinstance(value, str) else value


def _checks(setup: Setup, page: str | None) -> list[tuple[str, Check]]:
    """Return what is to be looked at, with its name, in this order."""

    async def installed() -> list[Finding]:
        return versions()

    async def kept() -> list[Finding]:
        if setup.journal is None:
            return [info("journal: none: what waits is lost with the process")]
        return await in_thread(partial(journal, setup.journal))

    async def shown() -> list[Finding]:
        return [] if page is None else await page_findings(page, setup.base_url)

    return [
        ("versions", installed),
        ("page", shown),
        ("journal", kept),
        ("network", partial(network, setup, os.environ)),
    ]


async def _look(checks: Iterable[tuple[str, Check]], within: float) -> list[Finding]:
    """Look at one after the other; what finds no end in time is said.

    Raises:
        CommandError: The page cannot be read.
    """
    findings: list[Finding] = []
    until = asyncio.get_running_loop().time() + within
    for name, check in checks:
        try:
            async with asyncio.timeout_at(until):
                findings += await check()
        except TimeoutError:
            findings.append(
                error(
                    f"{name}: no answer within {within:g} s: something hangs",
                    "try again with a longer --timeout; if it stays so, see what hangs",
                )
            )
        except PageError as problem:
            raise CommandError(str(problem)) from None
    return findings


# --- for people ---------------------------------------------------------------------------------

_STYLES: Final = {
    Level.OK: "green",
    Level.INFO: "",
    Level.WARNING: "yellow",
    Level.ERROR: "bold red",
}


def _shown(findings: Iterable[Finding]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=7)
    grid.add_column(overflow="fold")
    for one in findings:
        grid.add_row(Text(one.level.value, _STYLES[one.level]), Text(clean(one.what, limit=1000)))
        if one.do:
            grid.add_row("", Text(clean(f"-> {one.do}", limit=1000), "dim"))
    return grid


def _verdict(findings: Iterable[Finding]) -> str:
    wrong = [one for one in findings if is_wrong([one])]
    if not wrong:
        return "Nothing is wrong."
    errors = sum(one.level is Level.ERROR for one in wrong)
    return f"{plural(errors, 'error')}, {plural(len(wrong) - errors, 'warning')}."
