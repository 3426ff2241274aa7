"""What stands in a shop's SQLite database: the tables of an outbox, and the statements on them.

Pure. Rows of events are inserted and deleted, never updated; ids are given within the one write
transaction that SQLite allows at a time, so that their order is the order of the commits.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACQUIRE",
    "BURY",
    "DONE",
    "HEADS",
    "INSERT",
    "LAST",
    "LAST_LETTER",
    "LETTER",
    "MAKE",
    "NEXT",
    "PRUNE",
    "PUBLISH",
    "RELEASE",
    "REMOVE_LETTER",
    "RENEW",
    "SETTINGS",
    "STATUS",
    "VERSION",
    "WAITS",
]

VERSION: Final = 1

MAKE: Final = (
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

INSERT: Final = """INSERT INTO alhena_outbox ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"""

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

DONE: Final = "DELETE FROM alhena_outbox WHERE id = ?"

BURY: Final = "INSERT INTO alhena_outbox_letters (event, letter) VALUES (?, ?)"

PRUNE: Final = """DELETE FROM alhena_outbox_letters
WHERE id <= (SELECT max(id) FROM alhena_outbox_letters) - :most
    OR ended_at < (julianday('now') - 2440587.5) * 86400.0 - :age"""

LAST_LETTER: Final = "SELECT coalesce(max(id), 0) FROM alhena_outbox_letters"

LETTER: Final = """SELECT id, letter, ended_at FROM alhena_outbox_letters
WHERE id > ? AND id <= ? ORDER BY id LIMIT 1"""

REMOVE_LETTER: Final = "DELETE FROM alhena_outbox_letters WHERE id = ?"

PUBLISH: Final = "INSERT INTO alhena_outbox (lane, company_key, body) VALUES (?, '', ?)"

STATUS: Final = """SELECT (SELECT count(*) FROM alhena_outbox) AS waiting,
    (SELECT (julianday('now') - 2440587.5) * 86400.0 - accepted_at FROM alhena_outbox
        ORDER BY id LIMIT 1) AS oldest_age,
    (SELECT count(*) FROM alhena_outbox_letters) AS dead_letters"""
