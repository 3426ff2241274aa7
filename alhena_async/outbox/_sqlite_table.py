"""What stands in a shop's SQLite database: the tables of an outbox, and the statements on them.

Pure. Rows of events are inserted and deleted, never updated; ids are given within the one write
transaction that SQLite allows at a time, so that their order is the order of the commits.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACQUIRE",
    "BURY",
    "DELIVERED_ORDERS",
    "DONE",
    "HEADS",
    "KEEP_ORDER",
    "KNOWN_SINCE",
    "LANES_OF",
    "LAST",
    "LAST_LETTER",
    "LETTER",
    "LETTERS_AFTER",
    "NEXT",
    "PRUNE",
    "PRUNE_ORDERS",
    "PUBLISH",
    "RELEASE",
    "REMOVE_LETTER",
    "RENEW",
    "SETTINGS",
    "STATUS",
    "VERSION",
    "WAITING_AFTER",
    "WAITING_ORDERS",
    "WAITS",
    "make",
]

_VERSION_1: Final = (
    """CREATE TABLE alhena_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    company_key TEXT NOT NULL,
    order_id TEXT,
    body TEXT NOT NULL,
    accepted_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
)""",
    "CREATE INDEX alhena_outbox_lane ON alhena_outbox (lane, id)",
    """CREATE UNIQUE INDEX alhena_outbox_order ON alhena_outbox (company_key, order_id)
    WHERE order_id IS NOT NULL""",
    """CREATE TABLE alhena_outbox_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL,
    letter TEXT NOT NULL,
    ended_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
)""",
    """CREATE TABLE alhena_outbox_settings (
    version INTEGER NOT NULL,
    destination TEXT,
    token INTEGER NOT NULL DEFAULT 0,
    until REAL NOT NULL DEFAULT 0,
    upto INTEGER NOT NULL DEFAULT 0
)""",
)
"""`token` is whose process delivers, until when by the machine's clock since its start; 0: nobody.
`upto` is the last id that a process which vanished may have sent."""

_VERSION_2: Final = (
    """CREATE TABLE alhena_outbox_orders (
    company_key TEXT NOT NULL,
    order_id TEXT NOT NULL,
    settled_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    PRIMARY KEY (company_key, order_id)
)""",
    "CREATE INDEX alhena_outbox_orders_age ON alhena_outbox_orders (settled_at)",
    """CREATE TRIGGER alhena_outbox_once BEFORE INSERT ON alhena_outbox
    WHEN NEW.order_id IS NOT NULL AND EXISTS (SELECT 1 FROM alhena_outbox_orders
        WHERE company_key = NEW.company_key AND order_id = NEW.order_id)
    BEGIN SELECT RAISE(IGNORE); END""",
)
"""What was delivered is known by its id for a while; an order that is added again is passed by."""

_STEPS: Final = (_VERSION_1, _VERSION_2)
"""What leads from each version to the next."""

VERSION: Final = len(_STEPS)


def make(destination: str | None, version: int = 0) -> list[str]:
    """Return the statements that make what is missing.

    Args:
        destination: Where events go, written down if nothing stands yet; None: anywhere.
        version: The version that stands; 0: nothing does.
    """
    statements = [one for step in _STEPS[version:] for one in step]
    if not version:
        where = "NULL" if destination is None else "'" + destination.replace("'", "''") + "'"
        statements.append(
            f"INSERT INTO alhena_outbox_settings (version, destination) VALUES ({VERSION}, {where})"
        )
    elif version < VERSION:
        statements.append(f"UPDATE alhena_outbox_settings SET version = {VERSION}")
    return statements


SETTINGS: Final = "SELECT version, destination, token, until, upto FROM alhena_outbox_settings"

WAITS: Final = "SELECT EXISTS (SELECT 1 FROM alhena_outbox WHERE id <= ?)"

LAST: Final = "SELECT coalesce(max(id), 0) FROM alhena_outbox"

# Nobody delivers, or one whose time is over, or whose clock began anew with the machine.
ACQUIRE: Final = """UPDATE alhena_outbox_settings
SET upto = CASE WHEN token IN (0, :token) THEN upto ELSE max(upto, (
        SELECT coalesce(max(id), 0) FROM alhena_outbox)) END,
    token = :token, until = :now + :lease
WHERE token IN (0, :token) OR until <= :now OR until > :now + 60"""

RENEW: Final = (
    "UPDATE alhena_outbox_settings SET until = :until WHERE token = :token AND until > :now"
)

RELEASE: Final = """UPDATE alhena_outbox_settings SET token = 0, until = 0, upto = max(upto, :upto)
WHERE token = :token"""

HEADS: Final = (
    "SELECT id, lane, body, accepted_at FROM alhena_outbox WHERE id > ? ORDER BY id LIMIT ?"
)

NEXT: Final = """SELECT id, lane, body, accepted_at FROM alhena_outbox
WHERE lane = ? AND id > ? ORDER BY id LIMIT 1"""

_NOW: Final = "(julianday('now') - 2440587.5) * 86400.0"

DONE: Final = "DELETE FROM alhena_outbox WHERE id = ?"

KEEP_ORDER: Final = """INSERT INTO alhena_outbox_orders (company_key, order_id)
SELECT company_key, order_id FROM alhena_outbox WHERE id = ? AND order_id IS NOT NULL
ON CONFLICT DO NOTHING"""

PRUNE_ORDERS: Final = f"""DELETE FROM alhena_outbox_orders WHERE rowid IN (
    SELECT rowid FROM alhena_outbox_orders WHERE settled_at < {_NOW} - :age LIMIT 100)"""

BURY: Final = "INSERT INTO alhena_outbox_letters (event, letter) VALUES (?, ?)"

PRUNE: Final = f"""DELETE FROM alhena_outbox_letters
WHERE id <= (SELECT max(id) FROM alhena_outbox_letters) - :most OR ended_at < {_NOW} - :age"""

LAST_LETTER: Final = "SELECT coalesce(max(id), 0) FROM alhena_outbox_letters"

LETTER: Final = """SELECT id, letter, ended_at FROM alhena_outbox_letters
WHERE id > ? AND id <= ? ORDER BY id LIMIT 1"""

REMOVE_LETTER: Final = "DELETE FROM alhena_outbox_letters WHERE id = ?"

PUBLISH: Final = """INSERT INTO alhena_outbox (lane, company_key, order_id, body)
VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"""

WAITING_AFTER: Final = "SELECT id, body FROM alhena_outbox WHERE id > ? ORDER BY id LIMIT 500"

LETTERS_AFTER: Final = (
    "SELECT id, letter FROM alhena_outbox_letters WHERE id > ? ORDER BY id LIMIT 200"
)

WAITING_ORDERS: Final = """SELECT order_id FROM alhena_outbox
WHERE company_key = ? AND order_id IN (SELECT value FROM json_each(?))"""

DELIVERED_ORDERS: Final = """SELECT order_id FROM alhena_outbox_orders
WHERE company_key = ? AND order_id IN (SELECT value FROM json_each(?))"""

KNOWN_SINCE: Final = "SELECT min(settled_at) FROM alhena_outbox_orders"

LANES_OF: Final = """SELECT count(DISTINCT lane) FROM alhena_outbox
WHERE id IN (SELECT value FROM json_each(?))"""

STATUS: Final = f"""SELECT
    (SELECT count(*) FROM alhena_outbox) AS waiting,
    (SELECT {_NOW} - accepted_at FROM alhena_outbox
        ORDER BY id LIMIT 1) AS oldest_age,
    (SELECT count(*) FROM alhena_outbox_letters) AS dead_letters"""
