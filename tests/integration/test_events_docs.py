"""The blocks of docs/events.md do what they say."""

import re
from pathlib import Path
from typing import Any

import httpx2 as httpx

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_blocks_run_and_the_app_serves() -> None:
    """Each builds on those before it; what is no event is told with its rule."""
    names: dict[str, Any] = {"__name__": "docs_events"}
    for block in BLOCKS:
        exec(compile(block, "docs/events.md", "exec"), names)
    transport = httpx.ASGITransport(names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        sent = names["order"].to_dict()
        sent = {**sent, "value": 39.8, "line_items": [{**sent["line_items"][0], "value": 39.8}]}
        assert (await browser.post("/events", json=sent)).json() == "CheckoutEvent"
        visitor = names["visitor"].to_dict()
        order = {"visitor": visitor, "lines": sent["line_items"]}
        assert (await browser.post("/orders", json=order)).json() == 1
        refused = await browser.post("/events", json={**sent, "currency": "eur"})
        assert refused.status_code == 422
        assert "must be upper case" in refused.text
