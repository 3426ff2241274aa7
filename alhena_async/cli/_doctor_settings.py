"""What `alhena doctor` says of settings and versions. Reads the environment, sends nothing."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async import AlhenaClient, HttpPolicy, __version__
from alhena_async.cli._findings import Finding, error, info, ok, warning
from alhena_async.cli._settings import look
from alhena_async.errors import JournalError
from alhena_async.journal import SQLITE_VERSION, check_sqlite
from alhena_async.policies import resolve_base_url

__all__ = ["Setup", "read_setup", "versions"]


@attrs.frozen(kw_only=True)
class Setup:
    """What is in force: what the client of this environment would work with."""

    base_url: str
    company_key: str | None
    """None: there is none that can work."""
    http: HttpPolicy
    journal: Path | None


def read_setup(
    environ: Mapping[str, str], given: Mapping[str, Any], *, proxy: str | None
) -> tuple[Setup, list[Finding]]:
    """Return the settings, without every variable that is at fault, and what is wrong with them.

    Args:
        environ: The environment.
        given: Constructor arguments from the command's options; they win.
        proxy: A proxy's URL from the options.

    Raises:
        ValueError, TypeError: An option cannot work.
    """
    AlhenaClient(**{"company_key": "any", **given})  # an option is the caller's own mistake
    instead = {f"ALHENA_{name.upper()}" for name in given}
    found = look({name: text for name, text in environ.items() if name not in instead})
    arguments = {**found.arguments, **given}
    http = arguments["http"]
    base_url = resolve_base_url(
        arguments["region"], arguments["base_url"], allow_insecure=http.allow_insecure
    )
    findings = list(map(_problem, found.problems))
    if arguments["company_key"] is None:
        findings.append(_NO_KEY)
    if not findings:
        findings = [ok(f"configuration: events go to {base_url}")]
    if found.arguments["company_key"] is None and given.keys() <= {"company_key"}:
        findings.append(_CODE_UNSEEN)  # the key stands in the code, so the rest may well do too
    if not arguments["enabled"]:
        findings.append(info("configuration: ALHENA_ENABLED is off: nothing is sent"))
    journal = arguments["journal"]
    setup = Setup(
        base_url=base_url,
        company_key=arguments["company_key"],
        http=http if proxy is None else attrs.evolve(http, proxy=proxy),
        journal=None if journal is None else Path(journal),
    )
    return setup, findings


_NO_KEY: Final = error(
    "configuration: ALHENA_COMPANY_KEY is not set: it is the organisation's public key, which "
    "the shop's page has in document.gleenConfig",
    "set ALHENA_COMPANY_KEY, or give --company-key here if it stands in the code",
)

_CODE_UNSEEN: Final = info(
    "configuration: read from the environment alone: what stands in the code, as in "
    'AlhenaClient("my-shop", region="eu", journal=...), cannot be seen from here',
    "if it does stand there, say the same here: --company-key, --region, --base-url, --journal",
)


def _problem(problem: str) -> Finding:
    """Return what `alhena settings` says of a variable, with the cure."""
    names = " and ".join(re.findall(r"\bALHENA_[A-Z_]+\b", problem.partition(" cannot ")[0])[:2])
    if "is read by nothing" in problem:
        return warning(f"configuration: {problem}", f"rename {names.split()[0]}, or remove it")
    return error(f"configuration: {problem}", f"correct {names}, and start again (alhena settings)")


# --- versions -----------------------------------------------------------------------------------

_FLOOR: Final = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?[^;]*?>=\s*([\d.]+)")

_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")

_FOR_DEVELOPERS: Final = frozenset({"bench", "dev", "test"})


def versions() -> list[Finding]:
    """Return what is installed, held against what is needed, and which extras are there."""
    findings = [ok(f"versions: alhena-async {__version__}, Python {platform.python_version()}")]
    extras: dict[str, bool] = {}
    for requirement in _requirements():
        found, extra = _FLOOR.match(requirement), _EXTRA.search(requirement)
        if found is None:
            continue
        if extra is None:
            findings.append(_version_of(found[1], found[2]))
        elif extra[1] not in _FOR_DEVELOPERS:
            extras[extra[1]] = extras.get(extra[1], True) and _installed(found[1]) is not None
    there = sorted(name for name, is_there in extras.items() if is_there)
    findings.append(info(f"versions: extras that are complete: {', '.join(there) or 'none'}"))
    findings.append(_sqlite())
    return findings


def _requirements() -> list[str]:
    """Return what the package declares; nothing where it was built into a program without that."""
    try:
        return metadata.requires("alhena-async") or []
    except metadata.PackageNotFoundError:
        return []


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version_of(name: str, floor: str) -> Finding:
    found = _installed(name)
    if found is None or _numbers(found) < _numbers(floor):
        return error(
            f"versions: {name} is {found or 'missing'}, and {floor} or newer is needed",
            f"pip install --upgrade '{name}>={floor}'",
        )
    return ok(f"versions: {name} {found}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _sqlite() -> Finding:
    text = ".".join(map(str, SQLITE_VERSION))
    try:
        check_sqlite(Path("journal"), SQLITE_VERSION)
    except JournalError as problem:
        return warning(f"versions: {problem}", "a client without a journal works all the same")
    return ok(f"versions: SQLite {text}")
