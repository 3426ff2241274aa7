"""The statements of relays, publishers and commands. Pure; each is one statement, one transaction.

Times are the database's: no clock of a relay decides whose an event is.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BURY",
    "CHECK",
    "DELIVERED_ORDERS",
    "DONE",
    "EXTEND",
    "GIVE_BACK",
    "IN_HAND",
    "KNOWN_SINCE",
    "LAST_LETTER",
    "LETTER",
    "LETTERS_AFTER",
    "PROBE",
    "PRUNE",
    "PUBLISH",
    "QUERY",
    "REMOVE_LETTER",
    "REMOVE_LETTERS",
    "REMOVE_WAITING",
    "SCAN",
    "SETTINGS",
    "STATUS",
    "WAITING_AFTER",
    "WAITING_ORDERS",
]

# The first of a lane, and not the first behind the one that was finished: a smaller id that became
# visible meanwhile would be passed by its own writer's next.
_PROBED: Final = """
WITH picked AS (
    SELECT h.lane, coalesce(
        (SELECT l.event FROM {leases} l JOIN {events} e ON e.id = l.event WHERE l.lane = h.lane),
        (SELECT e.id FROM {events} e WHERE e.lane = h.lane ORDER BY e.lane, e.id LIMIT 1)
    ) AS id
    FROM unnest(string_to_array($4, ',')::bigint[]) AS h (lane)
    WHERE NOT coalesce(
        (SELECT l.until > clock_timestamp() FROM {leases} l WHERE l.lane = h.lane), false)
    LIMIT $1
),"""

# From one lane to the next is one step in the index, however
# many events wait in it; subqueries, so that no plan reads more than the lanes that are wanted.
_SCANNED: Final = """
WITH RECURSIVE lanes AS (
    (SELECT e.lane FROM {events} e WHERE e.lane > $4::bigint ORDER BY e.lane LIMIT 1)
    UNION ALL
    SELECT (SELECT e.lane FROM {events} e WHERE e.lane > lanes.lane ORDER BY e.lane LIMIT 1)
    FROM lanes WHERE lanes.lane IS NOT NULL
),
free AS (
    SELECT lanes.lane FROM lanes
    WHERE lanes.lane IS NOT NULL AND NOT coalesce(
        (SELECT l.until > clock_timestamp() FROM {leases} l WHERE l.lane = lanes.lane), false)
    LIMIT $1
),
picked AS (
    SELECT f.lane, coalesce(
        (SELECT l.event FROM {leases} l JOIN {events} e ON e.id = l.event WHERE l.lane = f.lane),
        (SELECT e.id FROM {events} e WHERE e.lane = f.lane ORDER BY e.lane, e.id LIMIT 1)
    ) AS id
    FROM free f
),"""

# Subqueries that return one value, and no EXISTS: that may be made a hash of the whole table.
# A lane that was in hand goes on with the event that was. The event is locked before the lease is
# written: what another relay finished meanwhile is not there, and what it has in hand is passed by.
_LEASED: Final = """
heads AS (
    SELECT e.id, e.lane, e.body, e.parcel_id, e.accepted_at FROM {events} e
    WHERE e.id IN (SELECT p.id FROM picked p) ORDER BY e.lane FOR UPDATE SKIP LOCKED
),
leased AS (
    INSERT INTO {leases} AS l (lane, event, token, until)
    SELECT h.lane, h.id, $2::bigint, clock_timestamp() + $3 * interval '1 second'
    FROM heads h ORDER BY h.lane
    ON CONFLICT (lane) DO UPDATE SET event = excluded.event, token = excluded.token,
        until = excluded.until,
        delivery = CASE WHEN l.event = excluded.event THEN l.delivery + 1 ELSE 1 END
    WHERE l.until <= clock_timestamp() AND (l.event = excluded.event
        OR (SELECT e.id FROM {events} e WHERE e.id = l.event) IS NULL)
    RETURNING l.lane, l.event, l.delivery
)
SELECT p.count, p.last, l.lane, l.event, l.delivery, h.body,
    CASE WHEN h.parcel_id IS NULL
        THEN extract(epoch FROM clock_timestamp() - h.accepted_at)::double precision END AS age
FROM (SELECT count(*) AS count, max(picked.lane) AS last FROM picked) p
LEFT JOIN (leased l JOIN heads h ON h.id = l.event) ON true
"""

PROBE: Final = _PROBED + _LEASED
"""Lease the first of lanes: $1 at most, $2 token, $3 seconds, $4 lanes."""

SCAN: Final = _SCANNED + _LEASED
"""Lease the next events of lanes that nobody has in hand: $4 is the lane behind which to begin."""

_MINE: Final = """l.lane = d.lane AND l.event = d.event AND l.token = d.token
        AND l.until > clock_timestamp()"""

_GIVEN: Final = """unnest(string_to_array($1, ',')::bigint[], string_to_array($2, ',')::bigint[],
        string_to_array($3, ',')::bigint[]) AS d (lane, event, token)"""

DONE: Final = f"""
WITH mine AS (
    DELETE FROM {{leases}} l USING {_GIVEN}
    WHERE {_MINE} RETURNING l.event
),
gone AS (
    DELETE FROM {{events}} e USING mine WHERE e.id = mine.event RETURNING e.company_key, e.order_id
),
kept AS (
    INSERT INTO {{orders}} (company_key, order_id)
    SELECT company_key, order_id FROM gone WHERE order_id IS NOT NULL ON CONFLICT DO NOTHING
)
SELECT event FROM mine
"""
"""Settle events; of an order its id is kept."""

BURY: Final = f"""
WITH mine AS (
    DELETE FROM {{leases}} l
    USING unnest(string_to_array($1, ',')::bigint[], string_to_array($2, ',')::bigint[],
        string_to_array($3, ',')::bigint[], array(SELECT json_array_elements_text($4::json)))
        AS d (lane, event, token, letter)
    WHERE {_MINE} RETURNING l.lane, l.event, d.letter
),
gone AS (DELETE FROM {{events}} e USING mine WHERE e.id = mine.event),
kept AS (INSERT INTO {{letters}} (event, lane, letter) SELECT event, lane, letter FROM mine)
SELECT event FROM mine
"""

EXTEND: Final = f"""
UPDATE {{leases}} l SET until = clock_timestamp() + $4 * interval '1 second' FROM {_GIVEN}
WHERE {_MINE} RETURNING l.event
"""

GIVE_BACK: Final = f"""
UPDATE {{leases}} l SET until = '-infinity' FROM {_GIVEN}
WHERE {_MINE} RETURNING l.event, pg_notify('alhena_outbox', '')
"""

PUBLISH: Final = """
WITH news AS (
    INSERT INTO {ids} (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO {events} (parcel_id, lane, company_key, order_id, body)
SELECT news.id, $2::bigint, $3::text, $4::text, $5::text FROM news ON CONFLICT DO NOTHING
RETURNING pg_notify('alhena_outbox', '')
"""

LAST_LETTER: Final = "SELECT coalesce(max(id), 0) AS last FROM {letters}"

LETTER: Final = """
SELECT id, letter, extract(epoch FROM ended_at)::double precision AS ended FROM {letters}
WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1
"""

REMOVE_LETTER: Final = "DELETE FROM {letters} WHERE id = $1 RETURNING id"

QUERY: Final = """
DECLARE orders NO SCROLL CURSOR FOR SELECT row_to_json(q)::text AS row FROM ({sql}
) q
"""
"""A shop's own statement, whose rows are fetched page by page."""

WAITING_AFTER: Final = "SELECT id, body FROM {events} WHERE id > $1 ORDER BY id LIMIT 500"

LETTERS_AFTER: Final = "SELECT id, letter FROM {letters} WHERE id > $1 ORDER BY id LIMIT 200"

WAITING_ORDERS: Final = """
SELECT n.value AS order_id FROM json_array_elements_text($2::json) n WHERE (
    SELECT true FROM {events} e WHERE e.company_key = $1 AND e.order_id = n.value)
"""

DELIVERED_ORDERS: Final = """
SELECT n.value AS order_id FROM json_array_elements_text($2::json) n WHERE (
    SELECT true FROM {orders} o WHERE o.company_key = $1 AND o.order_id = n.value)
"""

KNOWN_SINCE: Final = (
    "SELECT extract(epoch FROM min(settled_at))::double precision AS since FROM {orders}"
)

_NUMBERED: Final = "SELECT json_array_elements_text($1::json)::bigint"

REMOVE_WAITING: Final = f"DELETE FROM {{events}} WHERE id IN ({_NUMBERED})"

REMOVE_LETTERS: Final = f"DELETE FROM {{letters}} WHERE id IN ({_NUMBERED})"

IN_HAND: Final = f"""
SELECT count(*) AS count FROM {{leases}}
WHERE event IN ({_NUMBERED}) AND until > clock_timestamp()
"""

SETTINGS: Final = "SELECT * FROM {settings}"

CHECK: Final = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only,
    (SELECT string_agg(format('%s on %s', r.wanted, r.at), ', ') FROM (VALUES
        ('SELECT', '{events}'), ('UPDATE', '{events}'), ('DELETE', '{events}'),
        ('SELECT', '{leases}'), ('INSERT', '{leases}'), ('UPDATE', '{leases}'),
        ('DELETE', '{leases}'), ('SELECT', '{letters}'), ('INSERT', '{letters}'),
        ('DELETE', '{letters}'), ('SELECT', '{ids}'), ('DELETE', '{ids}'),
        ('SELECT', '{orders}'), ('INSERT', '{orders}'), ('DELETE', '{orders}')
    ) AS r (wanted, at) WHERE NOT has_table_privilege(r.at, r.wanted)) AS lacking
"""

PRUNE: Final = (
    "DELETE FROM {ids} WHERE published_at < clock_timestamp() - $1 * interval '1 second'",
    "DELETE FROM {letters} WHERE ended_at < clock_timestamp() - $1 * interval '1 second'",
    """DELETE FROM {letters} WHERE id <= (SELECT max(id) FROM (
        SELECT id, sum(octet_length(letter)) OVER (ORDER BY id DESC) AS upto FROM {letters}) t
        WHERE upto > $1)""",
    """DELETE FROM {leases} l WHERE until < clock_timestamp() - $1 * interval '1 second'
        AND NOT EXISTS (SELECT 1 FROM {events} e WHERE e.id = l.event)""",
    """DELETE FROM {orders} o USING (SELECT company_key, order_id FROM {orders}
        WHERE settled_at < clock_timestamp() - $1 * interval '1 second' LIMIT 10000) old
        WHERE o.company_key = old.company_key AND o.order_id = old.order_id""",
)
"""Delete what is kept no longer: ids, letters by age and by bytes, leases of rows that went, ids
of orders that were delivered long ago, so many at a time."""

STATUS: Final = """
SELECT (SELECT count(*) FROM {events}) AS waiting,
    (SELECT count(*) FROM {leases} WHERE until > clock_timestamp()) AS held,
    (SELECT extract(epoch FROM clock_timestamp() - accepted_at)::double precision
        FROM {events} ORDER BY id LIMIT 1) AS oldest_age,
    pg_total_relation_size('{events}') AS bytes,
    (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = '{events}'::regclass) AS dead_rows,
    (SELECT count(*) FROM {letters}) AS dead_letters
"""
