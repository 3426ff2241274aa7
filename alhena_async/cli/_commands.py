"""The commands and their options; what they do is in `emulate`, `demo` and `replay`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import click

from alhena_async import __version__
from alhena_async._variables import EMULATOR_VARIABLE
from alhena_async.cli._broker import schema_option
from alhena_async.cli._check import Check
from alhena_async.cli._console import Screen
from alhena_async.cli._dead_letters import dead_letters
from alhena_async.cli._deliver import deliver
from alhena_async.cli._demo import Demo, DemoOptions
from alhena_async.cli._doctor import doctor
from alhena_async.cli._emulate import emulate as run_emulator
from alhena_async.cli._emulate import telling
from alhena_async.cli._forget import forget
from alhena_async.cli._format import clean
from alhena_async.cli._inspect import journal
from alhena_async.cli._options import (
    COALESCING,
    SendingOptions,
    allowance,
    company_key_option,
    derive_visitors_option,
    emulator_options,
    fault_plan,
    json_option,
    name_from_id_option,
    rate,
    sending_options,
    speed,
)
from alhena_async.cli._outbox import outbox
from alhena_async.cli._reconcile import ReconcileOptions, Reconciliation
from alhena_async.cli._reconcile_outbox import OutboxReconcileOptions, OutboxReconciliation
from alhena_async.cli._relay import relay
from alhena_async.cli._replay import Replay, ReplayOptions
from alhena_async.cli._schema import schema
from alhena_async.cli._settings import settings
from alhena_async.cli._signals import INTERRUPTED, run
from alhena_async.cli._status import status
from alhena_async.cli._tail import tail
from alhena_async.cli._told import told
from alhena_async.emulator import Emulator, Handled, Preconditions, Tickets
from alhena_async.policies import Coalescing, Region


def emulator_of(
    host: str,
    port: int,
    *,
    tickets: str,
    preconditions: str,
    faults: tuple[str, ...],
    seed: int | None,
    companies: tuple[str, ...] | None = None,
    on_request: Callable[[Handled], object] = lambda _: None,
    token: str | None = None,
    exposed: bool = False,
) -> Emulator:
    """Make the emulator that the options describe.

    Raises:
        click.UsageError: They do not go together.
    """
    try:
        return Emulator(
            host=host,
            port=port,
            companies=companies,
            tickets=Tickets(tickets),
            preconditions=Preconditions(preconditions),
            faults=fault_plan(faults, seed),
            on_request=on_request,
            token=token,
            exposed=exposed,
        )
    except ValueError as error:
        raise click.UsageError(clean(str(error))) from None


_PORTS: Final = click.IntRange(0, 65_535)


class _Alhena(click.Group):
    """The command. Ctrl-C has its own exit status, whenever it comes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None


@click.group(
    cls=_Alhena, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def alhena() -> None:
    """Record a shop's cart and checkout events at Alhena, for real or for show.

    Begin with `alhena demo`: it needs no set-up and sends nothing off this machine. The manual is
    installed too: `python -m alhena_async docs` lists its pages, `docs start` prints the first,
    `docs glossary` what words mean.
    """


@alhena.command(short_help="Serve the API on this machine, with a page to watch it.")
@click.option("--port", type=_PORTS, default=8787, show_default=True, help="0: a free one.")
@click.option(
    "--host",
    default=None,
    show_default="127.0.0.1; with --expose 0.0.0.0, which is all of them",
    help="The address to bind: a loopback one, or with --expose any.",
)
@click.option(
    "--expose",
    is_flag=True,
    help="Let other machines and containers reach it; everything needs the token then, events too.",
)
@click.option(
    "--token",
    default=None,
    envvar=EMULATOR_VARIABLE,
    show_envvar=True,
    help="What control requests carry: 16 to 128 of A-Z a-z 0-9 _ -. On a command line others see "
    "it, so rather set the variable. Default: another one at each start.",
)
@click.option(
    "--company",
    "companies",
    multiple=True,
    metavar="KEY",
    help="A known company key; may be given several times. Default: every key is known.",
)
@click.option("--quiet", "-q", is_flag=True, help="No line for each request.")
@emulator_options
def emulate(
    port: int,
    host: str | None,
    companies: tuple[str, ...],
    *,
    expose: bool,
    token: str | None,
    quiet: bool,
    **behaviour: Any,
) -> None:
    """Serve Alhena's API on this machine until Ctrl-C, with a page to watch it.

    It records in memory what the documented API would record, and refuses what that would refuse.
    Only this machine can reach it, unless it is exposed. Each request has its line on standard
    output: the time, what was answered (--- for nothing) and after how long, the visitor (8
    characters of the fingerprint), the order and the product.

    \b
    Examples:
      alhena emulate
      alhena emulate --preconditions lenient --company my-shop
      alhena emulate --fault error=5% --fault throttle=2%:3s --fault latency=0.5:80ms
      ALHENA_EMULATOR_TOKEN=$(openssl rand -hex 16) alhena emulate --expose
    """  # noqa: D301  click wants the character, not the escape
    screen = Screen()
    behaviour |= {} if quiet else {"on_request": telling(screen)}
    host = host or ("0.0.0.0" if expose else "127.0.0.1")  # noqa: S104  asked for, and guarded
    emulator = emulator_of(
        host, port, companies=companies or None, token=token or None, exposed=expose, **behaviour
    )
    run(run_emulator(emulator, screen, where=f"{host} port {port}", exposed=expose))
    raise SystemExit(screen.exit_status)


@alhena.command(short_help="Show a made-up day (or FILE) through the real client.")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--keep", is_flag=True, help="Leave the page up when the day is over, until Ctrl-C.")
@click.option("--port", type=_PORTS, default=0, show_default="a free one", help="The page's port.")
@click.option(
    "--coalescing",
    type=COALESCING,
    default=Coalescing.LATEST.value,
    show_default=True,
    help="Which waiting events of one visitor fold into one, which saves requests.",
)
@name_from_id_option
@emulator_options
def demo(
    file: str | None,
    *,
    keep: bool,
    port: int,
    coalescing: str,
    name_from_id: bool,
    **behaviour: Any,
) -> None:
    """Show a shop's day: through the real client, at full speed, into the emulator.

    Alone, it is a made-up day of some thousand events, the same each time. FILE is a day of your
    own, in the format that `alhena replay --help` tells of; - is standard input. Nothing leaves
    this machine.

    \b
    Exit status:
      0    every line was recorded, or refused with a code, and the sums agree
      1    some were not, the sums differ, or the results could not be written
      2    it could not begin
      130  Ctrl-C (143: SIGTERM)

    \b
    Examples:
      alhena demo
      alhena demo --keep --fault error=10% --fault reset=5%
      alhena demo monday.jsonl.gz --coalescing off --preconditions lenient
    """  # noqa: D301  click wants the character, not the escape
    options = DemoOptions(
        file=file,
        name_from_id=name_from_id,
        coalescing=Coalescing(coalescing),
        where=f"127.0.0.1 port {port}",
        keep=keep,
    )
    emulator = emulator_of("127.0.0.1", port, **behaviour)
    screen = Screen()
    status = run(Demo(options, emulator, screen).run())
    raise SystemExit(status or screen.exit_status)


@alhena.command(short_help="Send a file of events to the API or an emulator.")
@click.argument("file", metavar="FILE|-")
@company_key_option(required=False)  # --check needs none
@sending_options(
    region=Region.US,
    max_in_flight=32,
    give_up_after=3_600,
    told="; --resume sends it again",
    from_environment=True,
)
@click.option(
    "--rate", type=rate, metavar="N[/s|/min|/h]", help="Events a second, at most. Default: none."
)
@click.option(
    "--speed",
    type=speed,
    metavar="X",
    help="Follow the lines' timestamps at X times their speed: 1 takes as long as the day took. "
    "Default: as fast as the API answers.",
)
@click.option(
    "--coalescing",
    type=COALESCING,
    default=Coalescing.OFF.value,
    show_default=True,
    help="Which waiting events of one visitor fold into one. A history is complete as it is, so "
    "nothing folds unless you say so.",
)
@name_from_id_option
@derive_visitors_option
@click.option(
    "--check", is_flag=True, help="Send nothing: read all, and tell of it and of every reject."
)
@click.option(
    "--allow-rejects",
    type=allowance,
    metavar="N|N%",
    default="0",
    help="So many lines may be rejected, or refused by the API, in a run that ends with status 0. "
    "Default: none.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where lines go that are no events; replaced by each run, for you alone to read. "
    "Default: ./NAME.rejects.jsonl for NAME.jsonl.gz; with --check, none.",
)
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where settled lines are noted, for --resume. Default: ./NAME.progress.jsonl for "
    "NAME.jsonl.gz; none for standard input.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an interrupted run, or with a file that has grown: what is settled is passed "
    "over. A file that was changed otherwise is refused; a pipe is known by its first line only, "
    "so the same lines in the same order are up to you: others would be passed over unsent.",
)
@click.option(
    "--restart", is_flag=True, help="Start over, although the progress file tells of a run."
)
@click.option(
    "--outstanding",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=2_000,
    show_default=True,
    help="Events handed over and not yet answered, at most.",
)
def replay(**given: Any) -> None:
    """Send a file of events to Alhena's API, or to an emulator.

    FILE holds one JSON object a line, plain or gzip; - is standard input, either way:

    \b
      {"user_fingerprint": "550e8400-…", "user_faq_fingerprint": "660e8400-…",
       "ts": "2024-03-14T09:30:00Z", "kind": "cart", "type": "ITEM_ADDED", "product_id": "7",
       "product_name": "Mug", "value": 9.50, "currency": "EUR", "quantity": 1}
      {"user_fingerprint": "550e8400-…", "user_faq_fingerprint": "660e8400-…",
       "ts": "2024-03-14T09:41:00Z", "kind": "checkout", "order_id": "A1", "value": 9.50,
       "currency": "EUR", "line_items": [{"product_id": "7", "product_name": "Mug",
       "quantity": 1, "value": 9.50, "currency": "EUR"}]}

    user_fingerprint and user_faq_fingerprint are what the chat widget in the visitor's browser
    said; exported dead letters have them. For an emulator, visitor may stand for both: any id of
    the shop's own, from which fingerprints are derived (UUIDv5), always the same. No browser has
    those, so that they go to another machine only with --derive-visitors. ts is needed for --speed
    only. Other fields are passed over.

    A line that is no event goes to the rejects file with its number and its reasons, and the run
    goes on. Outcomes are noted in the progress file as they come, so that --resume goes on after
    Ctrl-C, a crash or a reboot, and with what was added to the file since; what was under way may
    be sent twice, which order ids make harmless for checkouts. A resumed run looks at rejected
    lines again: with --name-from-id, those that only lacked a name are sent.

    --check sends nothing, and tells all that is to be known of the file.

    The first Ctrl-C (or SIGTERM) stops reading and waits for what is under way (--drain), a second
    one ends at once.

    \b
    Exit status:
      0    every line was recorded, now or before, or its visitor has no conversation
      1    some were not, beyond --allow-rejects; nothing was; the company key is unknown; the
           input broke off or has grown; or a file or the results could not be written
      2    it could not begin: options, files, no JSON lines, invented fingerprints that nobody
           asked for, or a progress file of another or a complete run
      130  Ctrl-C before the end (143: SIGTERM)

    \b
    Examples:
      alhena replay --check monday.jsonl.gz
      alhena replay monday.jsonl.gz --base-url http://127.0.0.1:8787 --company-key any
      alhena replay monday.jsonl.gz --region eu --company-key my-shop --rate 20/s
      alhena replay monday.jsonl.gz --region eu --company-key my-shop --rate 20/s --resume
      zcat *.gz | alhena replay - --company-key my-shop --progress all.progress.jsonl
    """  # noqa: D301  click wants the character, not the escape
    options = ReplayOptions(**given)
    screen = Screen()
    if options.check:
        look = Check(
            options.file,
            options.reading,
            allowance=options.allow_rejects,
            rejects=options.rejects,
            screen=screen,
        )
        status = run(look.run())
    else:
        status = run(Replay(options, screen).run())
    raise SystemExit(status or screen.exit_status)


@alhena.command(short_help="Send the orders that the API lacks; or compare with an outbox.")
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--outbox", metavar="URL", help="Compare with this outbox; nothing is sent.")
@click.option("--query", metavar="SQL|@FILE", help="With --outbox: your orders, in its database.")
@click.option("--add-missing", is_flag=True, help="With --outbox: put into it what is missing.")
@schema_option
@company_key_option(required=True)
@sending_options(
    region=Region.US,
    max_in_flight=32,
    give_up_after=3_600,
    from_environment=True,
)
@name_from_id_option
@derive_visitors_option
@json_option
def reconcile(
    file: str | None,
    outbox: str | None,
    query: str | None,
    *,
    add_missing: bool,
    schema: str | None,
    sending: SendingOptions,
    **given: Any,
) -> None:
    """Compare a file of your own orders with what the API has of them, and record what it lacks.

    It sends: the API cannot be asked what it has. (With --outbox it sends nothing; `alhena replay
    --check` only reads the file.) FILE is as for `alhena replay`. Each checkout is sent with its
    order_id, through the ordinary client: ORDER_ALREADY_EXISTS says that it was there, a success
    that it was missing until now.
    Cart events are passed over; orders without an order_id are not sent. It can be run again at any
    time: what is recorded stays so.

    It cannot know all. The API cannot be read: an order that was there already is known by its id
    alone, not by its amount, and orders that only the API has are not seen. And the API attributes
    an order to a conversation of the 24 hours before it is recorded: what is recorded now is
    attributed by today's conversations, if at all.

    With --outbox nothing is sent: your orders, from FILE or from --query in the outbox's own
    database, are compared by their ids with what was delivered from the outbox, waits in it, or is
    among its dead letters; --add-missing then puts what is missing into it, each once. The
    columns of --query are the fields of a line (order_id, value or value_minor, currency; to add
    them also user_fingerprint, user_faq_fingerprint, line_items as JSON). Delivered orders are
    known for 90 days.

    \b
    Exit status:
      0    all that was earned is recorded (with --outbox: delivered, or waiting)
      1    some of it is not, or it could not be finished
      2    it could not begin
      130  Ctrl-C before the end (143: SIGTERM)

    \b
    Examples:
      alhena reconcile orders-2024-03.jsonl --region eu --company-key my-shop
      alhena reconcile orders.jsonl.gz --company-key my-shop --json
      alhena reconcile --outbox postgresql://owner@db/shop --company-key my-shop --query \\
        "SELECT id AS order_id, cents AS value_minor, currency FROM orders WHERE day = current_date"
    """  # noqa: D301  click wants the character, not the escape
    screen = Screen()
    if outbox is None:
        if file is None or query is not None or add_missing:
            raise click.UsageError("give FILE; --query and --add-missing go with --outbox")
        options = ReconcileOptions(file=file, sending=sending, **given)
        status = run(Reconciliation(options, screen).run())
    else:
        status = _reconcile_outbox(
            screen, outbox=outbox, file=file, query=query, schema=schema,
            add_missing=add_missing, **given,
        )  # fmt: skip
    raise SystemExit(status or screen.exit_status)


def _reconcile_outbox(screen: Screen, **given: Any) -> int:
    """Reconcile with an outbox; return the exit status."""
    context = click.get_current_context()
    sent = [one.name for one in attrs.fields(SendingOptions)]
    said = [name for name in sent if context.get_parameter_source(name) is _COMMANDLINE]
    if said:
        raise click.UsageError(
            f"--{said[0].replace('_', '-')} is about sending: --outbox sends nothing"
        )
    options = OutboxReconcileOptions(**given)
    if (options.file is None) == (options.query is None):
        raise click.UsageError("your orders come from FILE or from --query: give one of them")
    return run(told(OutboxReconciliation(options, screen).run()))


_COMMANDLINE: Final = click.core.ParameterSource.COMMANDLINE


alhena.add_command(dead_letters)
alhena.add_command(forget)
alhena.add_command(doctor)

alhena.add_command(journal)
journal.add_command(deliver)

alhena.add_command(outbox)
alhena.add_command(relay)

alhena.add_command(settings)
alhena.add_command(schema)
alhena.add_command(status)
alhena.add_command(tail)
