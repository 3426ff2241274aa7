"""The page: one self-contained HTML file, with a nonce and the token filled in for each load."""

from __future__ import annotations

import secrets
from importlib.resources import files

# Read once, on import: serving the page then does no file I/O on the event loop.
_TEMPLATE = (files(__package__) / "page.html").read_text("utf-8")


def render(token: str) -> tuple[str, str]:
    """Fill in the page.

    Returns:
        The HTML, and the Content-Security-Policy that lets exactly its own script and style run.
    """
    nonce = secrets.token_urlsafe(18)
    text = _TEMPLATE.replace("{{NONCE}}", nonce).replace("{{TOKEN}}", token)
    policy = (
        "default-src 'none'; "
        f"script-src 'nonce-{nonce}'; "
        f"style-src 'nonce-{nonce}'; "
        "img-src data:; "
        "connect-src 'self'; "
        "base-uri 'none'; "
        "form-action 'none'; "
        "frame-ancestors 'none'; "
        # The page never turns text into markup, and from here on the browser sees to that.
        "require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )
    return text, policy
