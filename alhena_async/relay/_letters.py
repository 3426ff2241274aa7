"""The letters that a broker keeps: read one after the other, removed, published again."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from alhena_async._json import dumps, loads
from alhena_async._wire import lane_digest, structure_event, unstructure_event
from alhena_async.events import CheckoutEvent
from alhena_async.journal import DeadLetter, DeadLetterFilter
from alhena_async.journal._dead_letters import UNREADABLE, judged
from alhena_async.relay._admin import moment
from alhena_async.relay._jetstream import Dialler, JetStreamChannel
from alhena_async.relay._message import Message, UnreadableError, decode, encode
from alhena_async.relay._seam import Parcel
from alhena_async.relay._topology import letters_name
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async.relay._connection import Connection

__all__ = ["JetStreamLetters", "is_wanted", "message_in", "parcel_of", "read_letter", "wanted_of"]

After = Callable[[int], Awaitable[DeadLetter | None]]
"""Returns the first letter above a number."""

_FACTS: Final = ("destination", "status", "code", "http_status", "attempts", "detail", "ended")


class JetStreamLetters(JetStreamChannel):
    """Reads letters and removes them; publishes their events as any `Channel`.

    Args:
        dialler: Connects.
    """

    def __init__(self, dialler: Dialler) -> None:
        super().__init__(dialler)
        self._stream = letters_name(dialler.prefix)
        self._made = ""
        """When the stream of letters was made, as the server writes it."""
        self._checked: Connection | None = None
        self.last = 0
        """The number of the last letter that was there at the opening."""

    async def open(self) -> None:
        """Connect, and see that both streams are there.

        Raises:
            TransportError: They are not, or cannot be reached now.
        """
        await super().open()
        connection, topology = self._ready()
        if connection is self._checked:
            return
        said = await connection.stream(self._stream)
        if said is None or said["config"]["subjects"] != [topology.letters_subject]:
            why = "there is no stream" if said is None else "the letters do not go to"
            raise TransportError(f"{why} {self._stream}: run alhena relay init", sent=False)
        if self._made and self._made != said["created"]:
            raise TransportError(f"{self._stream} was deleted and made again", sent=False)
        if not self._made:
            self._made, self.last = said["created"], int(said["state"]["last_seq"])
        self._checked = connection

    async def after(self, number: int) -> DeadLetter | None:
        """Return the first letter above a number, if it was there at the opening.

        Raises:
            TransportError: There was no answer.
        """
        if number >= self.last:
            return None
        connection, _topology = self._ready()
        wanted = {"seq": number + 1, "next_by_subj": ">"}
        said = await connection.find(f"STREAM.MSG.GET.{self._stream}", wanted)
        if said is None or said["message"]["seq"] > self.last:
            return None
        found = said["message"]
        data = base64.b64decode(found.get("data", ""))
        return read_letter(found["seq"], data, kept=moment(found["time"]).timestamp())

    async def remove(self, number: int) -> bool:
        """Remove a letter for good; return whether it was there.

        Raises:
            TransportError: There was no answer; it may be gone.
        """
        connection, _topology = self._ready()
        subject = f"STREAM.MSG.DELETE.{self._stream}"
        try:
            return await connection.find(subject, {"seq": number}) is not None
        except TransportError:  # the server's words for what is long gone are those of any failure
            found = await self.after(number - 1)
            if found is not None and found.id == number:
                raise
            return False

    def id_of(self, number: int) -> str:
        """Return what a letter's event is published under: the same whenever it is tried again.

        Made of the letter's own name, its stream's making and its number: a replay that died after
        the broker took the event, and before the letter was gone, makes no second one of it when
        the next one comes within the duplicate window. It is not the id that the event had, under
        which the broker would take it for a repeat of the first time.
        """
        return f"{self._stream}/{self._made}/{number}"


def read_letter(number: int, data: bytes, *, kept: float) -> DeadLetter:
    """Return a letter as it stands at a broker; `unreadable` where it, or its message, is none.

    Never raises: any program may have published it.

    Args:
        number: Its own in its stream.
        data: What was published.
        kept: When, in seconds since the epoch; stands for moments that it does not say.
    """
    document = _object_in(data)
    said = _NO_LETTER if document is None else document
    facts = {name: _plain(said.get(name)) for name in _FACTS}
    facts["ended"] = kept if facts["ended"] is None else facts["ended"]
    facts["attempts"] = facts["attempts"] or 0
    raw = message_in(data)
    try:
        about = _readable(decode(raw))
    except UnreadableError as error:
        if facts["status"] != UNREADABLE:
            facts |= {"status": UNREADABLE, "detail": f"its message {error}"}
        about = _unreadable(raw, kept)
    return judged(number, {"origin": None, **facts, **about, **_NEVER_SENT_AGAIN})


def message_in(letter: bytes) -> bytes:
    """Return the message of a letter; of what is no letter, itself. Never raises."""
    document = _object_in(letter)
    return letter if document is None else _message_in(document)


_NO_LETTER: Final = {"status": UNREADABLE, "detail": "is no JSON object", "destination": "?"}

_NEVER_SENT_AGAIN: Final = {"resent": None, "resent_status": None, "resent_detail": None}


def _readable(message: Message) -> dict[str, Any]:
    return {
        "company_key": message.company_key,
        "kind": "checkout" if isinstance(message.event, CheckoutEvent) else "cart",
        "order_id": message.order_id,
        "accepted": message.accepted_at,
        "body": dumps(unstructure_event(message.event)).decode(),
    }


def _unreadable(raw: bytes, kept: float) -> dict[str, Any]:
    return {
        "company_key": "?",
        "kind": UNREADABLE,
        "order_id": None,
        "accepted": kept,
        "body": raw.decode(errors="replace"),
    }


def _object_in(data: bytes) -> dict[str, Any] | None:
    try:
        document = loads(data.decode())
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _message_in(document: Mapping[str, Any]) -> bytes:
    """Return the message that a letter is about, as it was published; empty if there is none."""
    try:
        if "base64" in document:
            return base64.b64decode(document["base64"], validate=True)
        return dumps(document["message"])
    except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
        return b""


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


async def wanted_of(after: After, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
    """Go through the wanted letters in the order of their numbers, one in memory at a time.

    Args:
        after: Returns the first letter above a number.
        wanted: Which.
    """
    left = wanted.limit
    found = _numbered(after, wanted.ids) if wanted.ids else _all(after)
    async with aclosing(found):
        async for letter in found:
            if left is not None and left <= 0:
                return
            if is_wanted(letter, wanted):
                yield letter
                left = None if left is None else left - 1


async def _all(after: After) -> AsyncGenerator[DeadLetter, None]:
    number = 0
    while (letter := await after(number)) is not None:
        yield letter
        number = letter.id


async def _numbered(after: After, ids: Iterable[int]) -> AsyncGenerator[DeadLetter, None]:
    for number in sorted({one for one in ids if one > 0}):
        letter = await after(number - 1)
        if letter is not None and letter.id == number:
            yield letter


def is_wanted(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Return whether a filter lets a letter pass, its `limit` aside."""
    several = (
        (letter.id, wanted.ids),
        (letter.code, wanted.codes),
        (letter.status, wanted.statuses),
        (letter.kind, wanted.kinds),
        (letter.company_key, wanted.company_keys),
        (letter.resent_status, wanted.resent_statuses),
    )
    return (
        all(value in values for value, values in several if values)
        and (wanted.since is None or letter.ended >= wanted.since)
        and (wanted.until is None or letter.ended < wanted.until)
        and (wanted.resent is None or wanted.resent == (letter.resent is not None))
    )


def parcel_of(
    letter: DeadLetter, id_: str, *, now: float, company_key: str | None
) -> Parcel | None:
    """Return a letter's event as it is published once more; None if it is unreadable.

    Args:
        letter: Which.
        id_: What it is published under.
        now: Seconds since the epoch: when it counts as accepted, so that its deadline is a new one.
        company_key: Instead of its own.
    """
    form = letter.form()
    if form is None or letter.status == UNREADABLE:
        return None
    event, key = structure_event(form), company_key or letter.company_key
    message = Message(company_key=key, order_id=letter.order_id, accepted_at=now, event=event)
    return Parcel(id=id_, lane=lane_digest(event.visitor, key), body=encode(message))
