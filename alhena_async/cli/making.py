"""Options as click gives them -> an emulator, a client, a replay's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from alhena_async import AlhenaClient, HttpPolicy, Observer, QueuePolicy, RetryPolicy
from alhena_async.cli.options import fault_plan
from alhena_async.cli.records import Reading
from alhena_async.cli.replay import ReplaySettings
from alhena_async.cli.source import STDIN
from alhena_async.cli.text import clean
from alhena_async.emulator import Emulator, Preconditions, Tickets
from alhena_async.policies import Coalescing

_SUFFIXES: Final = (".gz", ".jsonl", ".ndjson", ".json")


def emulator_of(
    host: str,
    port: int,
    *,
    tickets: str,
    preconditions: str,
    faults: tuple[str, ...],
    seed: int | None,
    companies: tuple[str, ...] | None = None,
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
        )
    except ValueError as error:
        raise click.UsageError(clean(str(error))) from None


def client_of(given: dict[str, Any], *observers: Observer) -> AlhenaClient:
    """Make the client that a replay's options describe.

    Args:
        given: The options by name.
        observers: Who watches it.

    Raises:
        click.UsageError: They do not go together.
    """
    coalescing = Coalescing(given["coalescing"])
    give_up_after = given["give_up_after"]
    try:
        return AlhenaClient(
            given["company_key"],
            region=given["region"],
            base_url=given["base_url"] or None,
            coalescing=coalescing,
            queue=QueuePolicy(
                capacity=given["outstanding"],
                # Nothing to wait for where nothing folds.
                linger=0.0 if coalescing is Coalescing.OFF else 0.25,
                flush_at=max(1, given["outstanding"] // 2),
                max_in_flight=given["max_in_flight"],
            ),
            retry=RetryPolicy(
                cart_delivery_timeout=give_up_after,
                checkout_delivery_timeout=give_up_after,
                # No other process holds the earlier event: the file is all there is.
                precondition_retries=0,
            ),
            http=HttpPolicy(allow_insecure=given["allow_insecure"]),
            observers=observers,
        )
    except (ValueError, TypeError) as error:
        raise click.UsageError(clean(str(error))) from None


def settings_of(file: str, given: dict[str, Any]) -> ReplaySettings:
    """Make a replay's settings from its options.

    Raises:
        click.UsageError: They do not go together.
    """
    stem = _stem(file)
    progress = given["progress"]
    if progress is None and file != STDIN:
        progress = Path(f"{stem}.progress.jsonl")
    rejects = given["rejects"] or Path(f"{stem}.rejects.jsonl")
    if given["resume"] and given["restart"]:
        raise click.UsageError("--resume and --restart exclude each other")
    if given["resume"] and progress is None:
        raise click.UsageError("--resume of standard input needs the --progress of the first run")
    _check_distinct(file, rejects, progress)
    return ReplaySettings(
        path=file,
        reading=Reading(name_from_id=given["name_from_id"], timed=given["speed"] is not None),
        company_key=given["company_key"],
        rejects=rejects,
        progress=progress,
        resume=given["resume"],
        restart=given["restart"],
        rate=given["rate"],
        speed=given["speed"],
        drain_timeout=given["drain"],
    )


def _check_distinct(file: str, *outputs: Path | None) -> None:
    paths = [Path(file), *(output for output in outputs if output is not None)]
    if len({path.resolve() for path in paths}) < len(paths):
        raise click.UsageError("FILE, --rejects and --progress must be different files")


def _stem(file: str) -> str:
    name = "stdin" if file == STDIN else Path(file).name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name or "input"
