"""The README's examples do what they say."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from alhena_async import AlhenaClient, CartEvent, Coalescing, Visitor
from alhena_async.emulator import Emulator

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

VISITOR = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_an_example_compiles(block: int) -> None:
    """Each Python block is whole."""
    compile(BLOCKS[block], f"README block {block}", "exec")


async def test_the_first_example_records_a_cart_event_and_an_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Copied as it stands it works, and sends nothing off this machine."""
    async with Emulator() as emulator:
        names: dict[str, object] = {}
        exec(BLOCKS[0].replace("asyncio.run(main())", ""), names)  # a loop runs already
        names["Emulator"] = lambda: nullcontext(emulator)  # to be looked at afterwards
        main = names["main"]
        assert callable(main)
        await main()
        assert [event.quantity for event in emulator.recorded(kind="cart")] == [2]
        assert [event.order_id for event in emulator.recorded(kind="checkout")] == ["ORD-7890"]
    assert capsys.readouterr().out == "recorded True\n"


# What the README's and the docs' table says is sent, mode by mode.
_ROW = r"^\| `(OFF|DUPLICATES|LATEST|NET)`[^|]*\| ([^|]+) \| (\d) \|$"
TABLE = re.findall(_ROW, README, re.MULTILINE)


@pytest.mark.parametrize(("mode", "sent", "requests"), TABLE)
async def test_five_clicks_are_sent_as_the_table_says(mode: str, sent: str, requests: str) -> None:
    """Added (fired twice), increased twice, decreased: the table tells what each mode sends."""
    async with Emulator() as emulator:
        async with AlhenaClient(
            "shop", base_url=emulator.url, coalescing=Coalescing(mode.lower())
        ) as client:
            for before, after in ((0, 1), (0, 1), (1, 2), (2, 3), (3, 2)):
                client.track_nowait(
                    CartEvent.for_change(
                        VISITOR,
                        before=before,
                        after=after,
                        product_id="mug-1",
                        product_name="Mug",
                        value=9.5,
                        currency="EUR",
                    )
                )
        events = [f"{_word(event.type)} {event.quantity}" for event in emulator.recorded()]
        assert ", ".join(events) == sent.strip()
        assert emulator.requests == int(requests)


def test_the_table_has_every_mode() -> None:
    """Nothing above was skipped for want of a row."""
    assert [mode for mode, _, _ in TABLE] == ["OFF", "DUPLICATES", "LATEST", "NET"]


def _word(kind: object) -> str:
    return str(kind).rsplit("_", 1)[-1].lower()
