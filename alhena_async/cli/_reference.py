"""Every command and option as one page of Markdown, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from alhena_async.cli._commands import alhena

_HEAD = """\
# Commands

The command `alhena` (extra `cli`) from its own help: every command and every option.
"""


def commands_page() -> str:
    """Return the page: each command with its usage, its text, a table of its options."""
    sections = [
        _section(command, context) for command, context in _commands(alhena, None, "alhena")
    ]
    return "\n".join([_HEAD, *sections])


def _commands(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield a command and all below it, hidden ones aside."""
    context = click.Context(command, parent=parent, info_name=name)
    yield command, context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            if child is not None and not child.hidden:
                yield from _commands(child, context, below)


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [row for one in command.get_params(context) if (row := _row(one, context))]
    table = "\n".join(["| option | what it does |", "|---|---|", *rows]) + "\n"
    return "\n".join(
        [f"## {context.command_path}\n", f"```text\n{usage}\n```\n", _text(command), table]
    )


def _text(command: click.Command) -> str:
    """Return a command's help in Markdown; what click is told not to wrap stays as it stands."""
    paragraphs = (command.help or "").split("\f")[0].strip().split("\n\n")
    return "".join(f"{_paragraph(one)}\n\n" for one in paragraphs)


def _paragraph(text: str) -> str:
    if not text.lstrip().startswith("\b"):
        return _plain(" ".join(text.split()))
    lines = text.replace("\b", "").strip("\n").splitlines()
    return "\n".join(["```text", *lines, "```"])


def _row(option: click.Parameter, context: click.Context) -> str:
    """Return an option's row; nothing for an argument and for what is hidden."""
    record = option.get_help_record(context)
    if record is None:
        return ""
    names, text = (re.sub(r"\s+", " ", one).replace("|", r"\|") for one in record)
    return f"| `{names}` | {_plain(text)} |"


def _plain(text: str) -> str:
    """Keep Markdown from reading anything into a text that is none."""
    return re.sub(r"([<*_\[\]])", r"\\\1", text)
