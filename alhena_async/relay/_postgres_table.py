"""What stands in a Postgres database: the tables of an outbox, by version, and who says what.

`alhena outbox init` makes it, everybody else reads it. Pure: names, statements, and what the row of
settings says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
from attrs import validators

from alhena_async.policies import Region, resolve_base_url
from alhena_async.relay._topology import MAX_LEASE, TopologyError

__all__ = [
    "CHANNEL",
    "DUPLICATE_WINDOW",
    "LETTERS_AGE",
    "LETTERS_BYTES",
    "ORDERS_AGE",
    "VERSION",
    "Settings",
    "Tables",
    "change",
    "checked_schema",
    "checked_version",
    "make",
    "missing",
    "read",
    "script",
]

CHANNEL: Final = "alhena_outbox"
"""What relays LISTEN to."""

LETTERS_AGE: Final = 30 * 86_400.0
"""Seconds that a letter is kept."""

LETTERS_BYTES: Final = 256 * 1024 * 1024
"""What all letters may take; the oldest go first."""

ORDERS_AGE: Final = 90 * 86_400.0
"""Seconds that the id of an order is kept after its delivery."""

DUPLICATE_WINDOW: Final = 600.0
"""Seconds in which a publisher's repeated id is no second event."""


def checked_schema(schema: object) -> str | None:
    """Return a schema's name as it can stand in a statement; None leaves it to the search path.

    Raises:
        ValueError: It is no word of letters, digits and `_`.
    """
    if schema is None:
        return None
    if not isinstance(schema, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", schema):
        raise ValueError(
            "schema must be 1 to 63 letters, digits or _, and begin with no digit; None leaves it "
            "to the search path"
        )
    return schema


@attrs.frozen
class Tables:
    """The tables' names, as they stand in statements.

    Args:
        schema: Where they are; None leaves it to the search path.
    """

    schema: str | None = attrs.field(default=None, converter=checked_schema)

    @property
    def events(self) -> str:
        """What waits; a row is inserted, and deleted."""
        return self._named("alhena_outbox")

    @property
    def leases(self) -> str:
        """What relays have in hand, a row for each lane."""
        return self._named("alhena_outbox_leases")

    @property
    def letters(self) -> str:
        """What could not be delivered."""
        return self._named("alhena_outbox_letters")

    @property
    def ids(self) -> str:
        """What publishers published lately."""
        return self._named("alhena_outbox_ids")

    @property
    def settings(self) -> str:
        """One row: destination, lease, version."""
        return self._named("alhena_outbox_settings")

    @property
    def orders(self) -> str:
        """Which orders were delivered, by their ids."""
        return self._named("alhena_outbox_orders")

    @property
    def once(self) -> str:
        """The function that passes by what was delivered before."""
        return self._named("alhena_outbox_once")

    def put_into(self, template: str) -> str:
        """Return a statement with the names in it, for `{events}` and those beside it."""
        names = ("events", "leases", "letters", "ids", "settings", "orders", "once")
        return template.format(**{name: getattr(self, name) for name in names})

    def _named(self, name: str) -> str:
        return name if self.schema is None else f'"{self.schema}".{name}'


@attrs.frozen(kw_only=True)
class Settings:
    """What all processes have in common.

    Args:
        destination: The API's base URL that relays send to.
        lease: Seconds until what a relay took and did not finish is handed out again. 1 to 3,600.
            Default 60.
    """

    destination: str = Region.US.base_url
    lease: float = attrs.field(default=60.0, validator=[validators.ge(1), validators.le(MAX_LEASE)])


# A row of events is written once and deleted: autovacuum comes for every 1,000 rows and 2 % of
# them, and not for a fifth of a large table; leases are few and change all the time.
_VERSION_1: Final = (
    """CREATE TABLE {events} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane bigint NOT NULL,
    company_key text NOT NULL,
    order_id text,
    body text NOT NULL,
    parcel_id text,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 1,
    toast.autovacuum_vacuum_scale_factor = 0.02
)""",
    "CREATE INDEX alhena_outbox_lane ON {events} (lane, id)",
    """CREATE UNIQUE INDEX alhena_outbox_order ON {events} (company_key, order_id)
    WHERE order_id IS NOT NULL""",
    """CREATE TABLE {leases} (
    lane bigint PRIMARY KEY,
    event bigint NOT NULL,
    token bigint NOT NULL,
    until timestamptz NOT NULL,
    delivery integer NOT NULL DEFAULT 1
) WITH (
    fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
)""",
    """CREATE TABLE {letters} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event bigint NOT NULL,
    lane bigint NOT NULL,
    letter text NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
)""",
    """CREATE TABLE {ids} (
    id text PRIMARY KEY,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)""",
    """CREATE TABLE {settings} (
    version integer NOT NULL,
    destination text NOT NULL,
    lease double precision NOT NULL,
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one)
)""",
)

# What was delivered is known by its id for a while; an order that is added again is passed by. In
# the database, so that who adds needs no right to read. No statement ends in the middle of one: a
# shop's migration may take them apart at `;` and the end of a line.
_VERSION_2: Final = (
    """CREATE TABLE {orders} (
    company_key text NOT NULL,
    order_id text NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_key, order_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)""",
    "CREATE INDEX alhena_outbox_orders_age ON {orders} (settled_at)",
    """CREATE FUNCTION {once}() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$BEGIN
    IF EXISTS (SELECT 1 FROM {orders} o
        WHERE o.company_key = NEW.company_key AND o.order_id = NEW.order_id)
    THEN RETURN NULL; END IF; RETURN NEW; END$$""",
    """CREATE TRIGGER alhena_outbox_once BEFORE INSERT ON {events}
    FOR EACH ROW WHEN (NEW.order_id IS NOT NULL) EXECUTE FUNCTION {once}()""",
)

_STEPS: Final[tuple[tuple[str, ...], ...]] = (_VERSION_1, _VERSION_2)
"""What leads from each version to the next."""

VERSION: Final = len(_STEPS)


def make(tables: Tables, settings: Settings, version: int = 0) -> list[str]:
    """Return the statements that make what is missing.

    Args:
        tables: Their names.
        settings: What is written down, if nothing is yet.
        version: The version that stands; 0: nothing does.
    """
    statements = [tables.put_into(one) for step in _STEPS[version:] for one in step]
    if not version:
        statements.append(
            f"INSERT INTO {tables.settings} (version, destination, lease)\n"
            f"VALUES ({VERSION}, {_quoted(settings.destination)}, {settings.lease:g})"
        )
    elif version < VERSION:
        statements.append(f"UPDATE {tables.settings} SET version = {VERSION}")
    return statements


def change(tables: Tables, settings: Settings) -> str:
    """Return the statement that writes other settings down."""
    return (
        f"UPDATE {tables.settings} SET destination = {_quoted(settings.destination)}, "
        f"lease = {settings.lease:g}"
    )


def script(tables: Tables, settings: Settings) -> str:
    """Return all of it as a file of SQL, for a shop's own migrations."""
    return "".join(f"{one};\n" for one in make(tables, settings))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def missing(tables: Tables) -> TopologyError:
    """Return the error of tables that are not there."""
    at = f"in the schema {tables.schema}" if tables.schema else "on the search path (--schema?)"
    return TopologyError(f"there is no table alhena_outbox_settings {at}: run alhena outbox init")


def checked_version(version: int) -> int:
    """Return a version that can be read or brought up to this one.

    Raises:
        TopologyError: It is newer.
    """
    if version > VERSION:
        raise TopologyError("the outbox was made by a newer version: update alhena-async")
    return version


def read(row: Mapping[str, Any]) -> Settings:
    """Return what the row of settings says.

    Raises:
        TopologyError: It is of another version, or says nothing that can be used.
    """
    if checked_version(row["version"]) < VERSION:
        raise TopologyError("the outbox was made by an older version: run alhena outbox init")
    try:
        lease = float(row["lease"])
        if not math.isfinite(lease):
            raise ValueError("no number")  # noqa: TRY301
        destination = resolve_base_url(Region.US, row["destination"], allow_insecure=True)
        return Settings(destination=destination, lease=lease)
    except (ValueError, TypeError):
        raise TopologyError(
            "alhena_outbox_settings does not say what it must: run alhena outbox init --apply"
        ) from None
