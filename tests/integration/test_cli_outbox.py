"""`alhena outbox`: the tables made and looked at by the command, on a real server."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from alhena_async import Outcome, OutcomeStatus
from alhena_async.cli._commands import alhena
from alhena_async.emulator import Emulator
from alhena_async.outbox import PostgresOutbox
from alhena_async.relay import _postgres_table
from alhena_async.relay._letter import letter_of
from alhena_async.relay._message import decode
from alhena_async.relay._postgres_table import Settings, Tables
from tests.cli_process import Ended, ended, started
from tests.outbox_shops import order_of
from tests.patience import PATIENCE
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer, postgres_server, replica_of
from tests.scripted import cart


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database with nothing in it."""
    return postgres.new_database()


def outbox(*arguments: str) -> Ended:
    return command("outbox", *arguments)


def command(*arguments: str) -> Ended:
    """Run the command in this process: most of its time would go into starting another."""
    done = CliRunner().invoke(alhena, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|│|╭|╮|╰|╯|─", "", text).split())


def execute(url: str, sql: str, *arguments: Any) -> list[Any]:
    async def fetched() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[Any] = await connection.fetch(sql, *arguments)
        finally:
            await connection.close()
        return rows

    return asyncio.run(fetched())


def run_script(url: str, script: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(script)
        await connection.close()

    asyncio.run(run())


def failed(*arguments: str) -> str:
    """Return the one line with which a command has ended."""
    done = outbox(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    return plain(done.err)


def test_init_makes_it_and_is_repeated_without_harm(url: str) -> None:
    """Exit 0 both times; the second changes nothing."""
    first = outbox("init", url, "--region", "eu", "--lease", "30")
    assert (first.status, first.err) == (0, "")
    again = outbox("init", url, "--region", "eu", "--lease", "30")
    assert again.status == 0
    assert "alhena_outbox stands as it is wanted" in plain(again.out)
    [row] = execute(url, "SELECT version, destination, lease FROM alhena_outbox_settings")
    assert tuple(row) == (2, "https://eu.alhena.ai/", 30.0)


def test_what_differs_is_shown_and_changed_only_on_request(url: str) -> None:
    """Exit 1 until `--apply`."""
    outbox("init", url)
    shown = outbox("init", url, "--base-url", "http://127.0.0.1:9")
    assert shown.status == 1
    assert "destination is https://app.alhena.ai/, wanted http://127.0.0.1:9/" in plain(shown.out)
    assert "--apply does" in plain(shown.out)
    applied = outbox("init", url, "--base-url", "http://127.0.0.1:9", "--apply")
    assert applied.status == 0
    said = json.loads((outbox("status", url, "--json")).out)
    assert said["destination"] == "http://127.0.0.1:9/"


def test_what_is_printed_makes_the_same(postgres: PostgresServer) -> None:
    """For the shop's own migrations: nothing is connected, and all of it is there."""
    one, other = postgres.new_database(), postgres.new_database()
    unreachable = "postgresql://nobody@127.0.0.1:1/nowhere"
    printed = outbox("init", unreachable, "--print", "--lease", "5")
    assert (printed.status, printed.err) == (0, "")
    run_script(one, printed.out)
    outbox("init", other, "--lease", "5")
    columns = (
        "SELECT table_name, column_name, data_type, column_default, is_nullable "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"
    )
    assert execute(one, columns) == execute(other, columns) != []
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    assert execute(one, indexes) == execute(other, indexes)
    stands = outbox("init", one, "--lease", "5")
    assert "stands as it is wanted" in plain(stands.out)


def test_status_counts_what_waits(url: str) -> None:
    """In JSON, and as a table."""
    outbox("init", url)
    for number in range(3):
        sql, parameters = PostgresOutbox("shop").statement(cart(f"v{number}")).dollar
        execute(url, sql, *parameters)
    execute(url, "INSERT INTO alhena_outbox_letters (event, lane, letter) VALUES (1, 1, '')")
    done = outbox("status", url, "--json")
    said = json.loads(done.out)
    assert said.pop("bytes") > 0
    assert said.pop("oldest_age") >= 0
    assert said.pop("dead_rows") >= 0
    assert said == {
        "table": "alhena_outbox",
        "version": 2,
        "lease": 60.0,
        "destination": "https://app.alhena.ai/",
        "waiting": 3,
        "held": 0,
        "dead_letters": 1,
    }
    table = plain((outbox("status", url)).out)
    assert "waiting 3" in table
    assert "dead letters 1" in table


def test_a_schema_is_made_by_who_owns_the_database(url: str) -> None:
    """What is not there is said, with what to do; and where the path does not lead, too."""
    said = failed("init", url, "--schema", "sales")
    assert "CREATE SCHEMA sales" in said
    execute(url, "CREATE SCHEMA sales")
    assert (outbox("init", url, "--schema", "sales")).status == 0
    assert (outbox("status", url, "--schema", "sales")).status == 0
    said = failed("status", url)
    assert "no table alhena_outbox_settings on the search path (--schema?)" in said


def run_fails(url: str, *more: str) -> str:
    done = command("relay", "run", "--broker", url, *more)
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    return plain(done.err)


def test_no_table(url: str) -> None:
    """Said by who looks and by who would deliver."""
    for said in (failed("status", url), run_fails(url)):
        assert "there is no table alhena_outbox_settings" in said
        assert "run alhena outbox init" in said
    said = run_fails(url, "--schema", "sales")
    assert "in the schema sales" in said


@pytest.mark.parametrize(
    ("version", "cure"), [(1, "older version: run alhena outbox init"), (3, "update alhena-async")]
)
def test_another_version(version: int, cure: str, url: str) -> None:
    """Nothing is delivered from what another version made."""
    outbox("init", url)
    execute(url, "UPDATE alhena_outbox_settings SET version = $1", version)
    assert cure in failed("status", url)
    assert cure in run_fails(url)
    if version > 1:
        assert cure in failed("init", url)


def test_an_older_version_is_brought_up_to_this_one(url: str) -> None:
    """What waits there stays, and orders are kept by their ids from then on."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_postgres_table, "_STEPS", _postgres_table._STEPS[:1])
        patched.setattr(_postgres_table, "VERSION", 1)
        first = _postgres_table.script(Tables(), Settings(lease=5))
    run_script(url, first)
    sql, parameters = PostgresOutbox("shop").statement(order_of("A", "v")).dollar
    execute(url, sql, *parameters)
    assert "brought from version 1 to 2" in plain(outbox("init", url, "--lease", "5").out)
    [row] = execute(url, "SELECT version, lease FROM alhena_outbox_settings")
    assert tuple(row) == (2, 5.0)
    execute(url, "INSERT INTO alhena_outbox_orders VALUES ('shop', 'B')")
    sql, parameters = PostgresOutbox("shop").statement(order_of("B", "v")).dollar
    assert execute(url, sql, *parameters) == []
    assert [row[0] for row in execute(url, "SELECT order_id FROM alhena_outbox")] == ["A"]


def test_no_rights(postgres: PostgresServer, url: str) -> None:
    """Which one is lacking is said."""
    outbox("init", url)
    for role in ("nobody_here", "reader"):
        execute(url, f"DROP ROLE IF EXISTS {role}")
        execute(url, f"CREATE ROLE {role} LOGIN")
    names = ("", "_leases", "_letters", "_ids", "_orders", "_settings")
    tables = ", ".join(f"alhena_outbox{name}" for name in names)
    execute(url, f"GRANT SELECT ON {tables} TO reader")
    name = url.rpartition("/")[2]
    for said in (
        failed("status", postgres.url_of("nobody_here", name)),
        run_fails(postgres.url_of("nobody_here", name)),
    ):
        assert "permission denied for table alhena_outbox_settings" in said
    assert "permission denied for schema public" in failed(
        "init", postgres.url_of("nobody_here", postgres.new_database().rpartition("/")[2])
    )
    said = run_fails(postgres.url_of("reader", name))
    assert "the user lacks the right to UPDATE on alhena_outbox, DELETE on alhena_outbox" in said
    assert (outbox("status", postgres.url_of("reader", name))).status == 0
    execute(url, "DROP OWNED BY reader")
    for role in ("nobody_here", "reader"):
        execute(url, f"DROP ROLE {role}")


def test_a_replica_is_refused_by_who_would_deliver() -> None:
    """It may be looked at."""
    with postgres_server() as primary, replica_of(primary) as replica:
        assert (outbox("init", primary.url)).status == 0
        replica.wait_for("alhena_outbox_settings")
        assert (outbox("status", replica.url)).status == 0
        assert "read-only, as a replica is" in run_fails(replica.url)
        assert "read-only transaction" in failed("init", replica.url, "--apply")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://u:hunter2@127.0.0.1/shop",
        "mysql://u:hunter2@127.0.0.1/shop",
        "postgresql://u:hunter2@127.0.0.1:port/shop",
        "postgresql://u:hunter2@127.0.0.1:1/shop",
        "postgresql://u:hunter2@[::1/shop",
        "postgresql://u:hunter2@127.0.0.1:5432/shop?sslmode=hunter2",
        "postgresql://u:hunter2#@127.0.0.1/shop",
        "postgresql://u:1#hunter2@127.0.0.1/shop",
        "postgresql://u:hunter2/1@127.0.0.1/shop",
        "postgresql://u:hunter2?1@127.0.0.1/shop",
        "postgresql://u:hunter2@127.0.0.1:54x/shop",
        "hunter2",
    ],
)
def test_a_url_that_leads_nowhere(url: str) -> None:
    """Exit 2 with a line, and no password in it."""
    for arguments in (("init", url), ("status", url)):
        done = outbox(*arguments)
        assert (done.status, done.out) == (2, "")
        assert "hunter2" not in done.err
        assert "Traceback" not in done.err


def test_nats_has_other_commands(url: str) -> None:
    """Whoever mixes them up is told."""
    for verb in ("init", "status"):
        done = command("relay", verb, "--broker", url)
        assert done.status == 2
        assert "alhena outbox" in plain(done.err)


def test_letters_in_a_schema_that_is_not_on_the_path(url: str) -> None:
    """`--schema`, as everywhere else; without it, what is lacking is said."""
    execute(url, "CREATE SCHEMA sales")
    outbox("init", url, "--schema", "sales")
    event = cart("v")
    _, parameters = PostgresOutbox("shop", schema="sales").statement(event).dollar
    letter = letter_of(
        Outcome(status=OutcomeStatus.EXPIRED, event=event, detail="too late"),
        parameters[3].encode(), destination="https://app.alhena.ai/", ended=1.0,
    )  # fmt: skip
    insert = "INSERT INTO sales.alhena_outbox_letters (event, lane, letter) VALUES (1, 1, $1)"
    execute(url, insert, letter.decode())
    assert "--schema" in plain(command("dead-letters", "list", url).err)
    assert "too late" in plain(command("dead-letters", "show", url, "1", "--schema", "sales").out)
    assert command("dead-letters", "replay", url, "--schema", "sales").status == 0
    assert len(execute(url, "SELECT id FROM sales.alhena_outbox")) == 1


def test_letters_are_listed_and_put_into_it_again(url: str) -> None:
    """In their order; what is no event stays, and says so by the exit status."""
    outbox("init", url)
    for number in range(2):
        _, parameters = PostgresOutbox("shop").statement(cart(f"v{number}")).dollar
        letter = letter_of(
            Outcome(status=OutcomeStatus.EXPIRED, event=cart("v"), detail="too late"),
            parameters[3].encode(), destination="https://app.alhena.ai/", ended=1.0,
        )  # fmt: skip
        insert = "INSERT INTO alhena_outbox_letters (event, lane, letter) VALUES (1, 1, $1)"
        execute(url, insert, letter.decode())
    listed = command("dead-letters", "list", url)
    assert listed.status == 0
    assert "expired" in plain(listed.out).lower()
    sent = command("dead-letters", "replay", url)
    assert (sent.status, "2 letters published again" in plain(sent.out + sent.err)) == (0, True)
    said = json.loads(outbox("status", url, "--json").out)
    assert (said["waiting"], said["dead_letters"]) == (2, 0)
    bodies = execute(url, "SELECT body FROM alhena_outbox ORDER BY id")
    assert [decode(row["body"].encode()).event for row in bodies] == [cart("v0"), cart("v1")]


async def test_a_worker_delivers_until_it_is_told_to_end(url: str, tmp_path: Path) -> None:
    """In a process of its own: SIGTERM is the end that is meant, and its status is 0."""
    async with Emulator() as api:
        await make_outbox(url, destination=str(api.url))
        async with started("relay", "run", "--broker", url, cwd=tmp_path) as worker:
            connection = await asyncpg.connect(url)
            async with connection.transaction():
                await PostgresOutbox("shop").add(connection, cart("v"))
            await connection.close()
            async with asyncio.timeout(PATIENCE):
                while not api.recorded():  # noqa: ASYNC110  it says so to nobody
                    await asyncio.sleep(0.02)
            worker.send_signal(signal.SIGTERM)
            done = await ended(worker)
    assert done.status == 0, done.err
