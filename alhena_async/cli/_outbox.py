"""`alhena outbox`: the tables of an outbox in the shop's own database, made and looked at."""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import click

from alhena_async.cli._broker import (
    destination_options,
    file_at,
    lease_option,
    outbox_at,
    schema_option,
)
from alhena_async.cli._console import Screen
from alhena_async.cli._format import ago, clean, count
from alhena_async.cli._options import CommandError
from alhena_async.cli._signals import run
from alhena_async.cli._summary import facts
from alhena_async.cli._told import told
from alhena_async.errors import OutboxError
from alhena_async.outbox import SQLiteOutbox
from alhena_async.relay import Postgres
from alhena_async.relay._postgres_admin import Made, connected, look, make
from alhena_async.relay._postgres_table import VERSION, Settings, script

__all__ = ["outbox"]


@click.group(short_help="Make and see the outbox in the shop's own database.")
def outbox() -> None:
    """Make the tables of an outbox in the shop's own database, and see what waits in them.

    `alhena relay run --broker postgresql://...` delivers from it.
    """


_url: Final = click.argument("url", metavar="URL", envvar="ALHENA_BROKER")


@outbox.command("init", short_help="Make the tables, or bring them up to this version.")
@_url
@schema_option
@destination_options
@lease_option
@click.option("--apply", "apply_", is_flag=True, help="Change what differs, too.")
@click.option("--print", "prints", is_flag=True, help="Only show the SQL, for your migrations.")
def init(
    url: str,
    schema: str | None,
    *,
    destination: str,
    lease: float,
    apply_: bool,
    prints: bool,
) -> None:
    """Make the tables of an outbox at URL (postgresql://user@host/database, sqlite:///shop.db).

    Where events go is written down with them (in SQLite only if it is said). A table of an older
    version is brought up to this one. Where something else is written down already, that is left
    alone, and the exit status is 1; --apply changes it.
    """
    if _is_file(url):
        said = click.get_current_context().params
        where = destination if said["region"] or said["base_url"] else None
        _init_file(SQLiteOutbox(file_at(url), "nobody"), where, prints=prints)
        return
    database = outbox_at(url, schema)
    wanted = Settings(destination=destination, lease=lease)
    if prints:
        click.echo(script(database.tables, wanted), nl=False)
        return
    made = run(told(_init(database, wanted, apply_=apply_)))
    raise SystemExit(_show(made, wanted, applied=apply_))


def _is_file(url: str) -> bool:
    return url.startswith("sqlite:")


def _init_file(outbox: SQLiteOutbox, destination: str | None, *, prints: bool) -> None:
    """Make what is missing in a SQLite database, or only show how."""
    if prints:
        click.echo(outbox.script(base_url=destination), nl=False)
        return
    try:
        made = outbox.create(base_url=destination)
    except (OutboxError, ValueError) as error:
        raise CommandError(clean(str(error))) from None
    Screen().write(
        "created alhena_outbox and the tables beside it" if made else "alhena_outbox stands already"
    )


async def _init(database: Postgres, wanted: Settings, *, apply_: bool) -> Made:
    async with connected(database) as connection:
        return await make(connection, database.tables, wanted, changes=apply_)


def _show(made: Made, wanted: Settings, *, applied: bool) -> int:
    """Say what was done; return the exit status."""
    screen = Screen()
    if made.version == 0:
        screen.write("created alhena_outbox and the tables beside it")
    elif made.version < VERSION:
        screen.write(f"brought from version {made.version} to {VERSION}")
    found = attrs.asdict(made.settings) if made.settings else {}
    differing = [name for name, value in found.items() if value != getattr(wanted, name)]
    for name in differing:
        verb = "was" if applied else "is"
        screen.write(f"{name} {verb} {found[name]}, wanted {getattr(wanted, name)}")
    if differing and not applied:
        screen.write("Nothing of that was changed: --apply does.")
        return 1
    if made.version == VERSION and not differing:
        screen.write("alhena_outbox stands as it is wanted.")
    return 0


@outbox.command("status", short_help="Say what waits in the outbox.")
@_url
@schema_option
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
def status(url: str, schema: str | None, *, as_json: bool) -> None:
    """Say what waits in the outbox at URL, how old it is, and how many dead letters there are.

    A dead letter is an event that could not be delivered, with the reason.
    """
    if _is_file(url):
        try:
            said = SQLiteOutbox(file_at(url), "nobody").status()
        except OutboxError as error:
            raise CommandError(clean(str(error))) from None
    else:
        said = run(told(_status(outbox_at(url, schema))))
    screen = Screen()
    if as_json:
        screen.write(json.dumps(said))
        return
    screen.show(facts((name.replace("_", " "), _shown(name, said[name]), "") for name in said))


def _shown(name: str, value: Any) -> str:
    if name == "oldest_age":
        return ago(value) if value else "-"
    return count(value) if isinstance(value, int) else str(value)


async def _status(database: Postgres) -> dict[str, Any]:
    async with connected(database) as connection:
        settings = await database.dialler().read(connection, relays=False)
        found = await look(connection, database.tables)
    return {
        "table": database.tables.events.replace('"', ""),
        "version": VERSION,
        "lease": settings.lease,
        "destination": settings.destination,
        "waiting": found.waiting,
        "held": found.held,
        "oldest_age": round(max(0.0, found.oldest_age), 3),
        "bytes": found.bytes,
        "dead_rows": found.dead_rows,
        "dead_letters": found.dead_letters,
    }
