"""The client inside a web framework: one per worker process, drained when the server stops.

Each module needs its framework and nothing else, and is imported only by who uses it:
`fastapi` (and Starlette: `asgi` is the part without FastAPI), `aiohttp`, `wsgi`.
"""
