"""The edge: requests over aiohttp. Nothing else in the client imports it."""
