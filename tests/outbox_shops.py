"""Small shops, one for each driver: an order and its event in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from alhena_async import CheckoutEvent, LineItem, Visitor
from alhena_async.outbox import Added, PostgresOutbox

__all__ = ["CREATE", "SHOPS", "Sale", "TurnedDownError", "order_of", "sell"]

CREATE: Final = "CREATE TABLE orders (id text PRIMARY KEY)"

INSERT: Final = "INSERT INTO orders VALUES ('{}')"

Sale = tuple[str, str, bool]
"""An order's id, its visitor, and whether the card is turned down after all is written."""


class TurnedDownError(Exception):
    """What makes a shop roll back."""


def order_of(order_id: str, visitor: str) -> CheckoutEvent:
    line = LineItem(product_id="mug", product_name="Mug", quantity=1, value=9.5, currency="EUR")
    return CheckoutEvent(
        visitor=Visitor(fingerprint=visitor, faq_fingerprint=f"faq-{visitor}"),
        value=9.5,
        currency="EUR",
        order_id=order_id,
        line_items=[line],
    )


Answer = Callable[[Added], None]


async def _asyncpg(url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer) -> None:
    import asyncpg  # noqa: PLC0415

    connection = await asyncpg.connect(url)
    for order_id, visitor, fails in sales:
        with suppress(TurnedDownError):
            async with connection.transaction():
                await connection.execute(INSERT.format(order_id))
                added = await outbox.add(connection, order_of(order_id, visitor))
                if fails:
                    raise TurnedDownError
            answer(added)
    await connection.close()


async def _psycopg_async(
    url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer
) -> None:
    import psycopg  # noqa: PLC0415

    async with await psycopg.AsyncConnection.connect(url) as connection:
        for order_id, visitor, fails in sales:
            with suppress(TurnedDownError):
                async with connection.transaction():
                    await connection.execute(INSERT.format(order_id))
                    added = await outbox.add(connection, order_of(order_id, visitor))
                    if fails:
                        raise TurnedDownError
                answer(added)


def _psycopg(url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer) -> None:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(url) as connection:
        for order_id, visitor, fails in sales:
            connection.execute(INSERT.format(order_id))
            added = outbox.add_sync(connection, order_of(order_id, visitor))
            if fails:
                connection.rollback()
                continue
            connection.commit()
            answer(added)


async def _session_async(
    url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer
) -> None:
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine  # noqa: PLC0415

    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    for order_id, visitor, fails in sales:
        with suppress(TurnedDownError):
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text(INSERT.format(order_id)))
                added = await outbox.add(session, order_of(order_id, visitor))
                if fails:
                    raise TurnedDownError
            answer(added)
    await engine.dispose()


async def _engine_async(
    url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer
) -> None:
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    engine = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for order_id, visitor, fails in sales:
        with suppress(TurnedDownError):
            async with engine.begin() as connection:
                await connection.execute(text(INSERT.format(order_id)))
                added = await outbox.add(connection, order_of(order_id, visitor))
                if fails:
                    raise TurnedDownError
            answer(added)
    await engine.dispose()


def _session(url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer) -> None:
    from sqlalchemy import create_engine, text  # noqa: PLC0415
    from sqlalchemy.orm import Session  # noqa: PLC0415

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for order_id, visitor, fails in sales:
        with Session(engine) as session:
            session.execute(text(INSERT.format(order_id)))
            added = outbox.add_sync(session, order_of(order_id, visitor))
            if fails:
                session.rollback()
                continue
            session.commit()
        answer(added)
    engine.dispose()


def _engine(url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer) -> None:
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for order_id, visitor, fails in sales:
        with suppress(TurnedDownError):
            with engine.begin() as connection:
                connection.execute(text(INSERT.format(order_id)))
                added = outbox.add_sync(connection, order_of(order_id, visitor))
                if fails:
                    raise TurnedDownError
            answer(added)
    engine.dispose()


def _django(url: str, outbox: PostgresOutbox, sales: Iterable[Sale], answer: Answer) -> None:
    connection = django_connection(url)
    from django.db import transaction  # noqa: PLC0415

    for order_id, visitor, fails in sales:
        with suppress(TurnedDownError):
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(INSERT.format(order_id))
                added = outbox.add_sync(connection, order_of(order_id, visitor))
                if fails:
                    raise TurnedDownError
            answer(added)
    connection.close()


def django_connection(url: str) -> Any:
    """Return Django's connection, to this database from now on."""
    import django  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "NAME": parts.path.strip("/"),
    }
    if not settings.configured:
        settings.configure(DATABASES={"default": database}, LOGGING_CONFIG=None)
        django.setup()
    connection.close()
    connection.settings_dict.update(database)
    return connection


SHOPS: Final[dict[str, Callable[..., Awaitable[None] | None]]] = {
    "asyncpg": _asyncpg,
    "psycopg": _psycopg,
    "psycopg-async": _psycopg_async,
    "sqlalchemy": _session,
    "sqlalchemy-async": _session_async,
    "sqlalchemy-core": _engine,
    "sqlalchemy-core-async": _engine_async,
    "django": _django,
}
"""By what the shop holds in its hands."""


async def sell(shop: str, url: str, sales: Iterable[Sale], answer: Answer) -> None:
    """Let a shop sell; a synchronous one in a thread of its own."""
    selling = SHOPS[shop]
    arguments = (url, PostgresOutbox("shop"), sales, answer)
    if asyncio.iscoroutinefunction(selling):
        await selling(*arguments)
    else:
        await asyncio.to_thread(selling, *arguments)
