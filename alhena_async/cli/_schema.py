"""`alhena schema`: what events, replay lines and relay messages look like, as JSON Schema."""

from __future__ import annotations

import json
from importlib.resources import files

import click

from alhena_async._stored import json_schema

KINDS = ("Event", "CartEvent", "CheckoutEvent", "LineItem", "Visitor", "ReplayLine", "RelayMessage")


@click.command(short_help="Print the JSON Schema of events, replay lines and relay messages.")
@click.argument("kind", required=False, type=click.Choice(KINDS))
def schema(kind: str | None) -> None:
    """Print the JSON Schema (2020-12) of KIND, or of all kinds as one document.

    \b
    Examples:
      alhena schema > alhena.schema.json
      alhena schema CartEvent
    """  # noqa: D301  click wants the character, not the escape
    if kind is None:
        click.echo(
            files("alhena_async").joinpath("schema.json").read_text(encoding="utf-8"), nl=False
        )
    else:
        click.echo(json.dumps(json_schema(kind), indent=2))
