"""A certificate for the sink, made anew each time, and what it takes to trust it."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["Certificate", "certificate"]

_TRUSTED_BY = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables that tell OpenSSL, httpx and requests whom to trust."""


@attrs.frozen(kw_only=True)
class Certificate:
    """Of 127.0.0.1, by an authority that nobody knows."""

    chain: Path
    """What the server shows, and its key."""
    trust: ssl.SSLContext
    """For a client that takes a context."""


@contextlib.contextmanager
def certificate() -> Iterator[Certificate]:
    """Make one; meanwhile whoever asks the environment trusts it, and it alone."""
    import trustme

    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with tempfile.TemporaryDirectory() as folder, _environment() as environment:
        chain, trusted = Path(folder, "chain.pem"), Path(folder, "authority.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
        authority.cert_pem.write_to_path(trusted)
        environment.update(dict.fromkeys(_TRUSTED_BY, str(trusted)))
        yield Certificate(chain=chain, trust=context)


@contextlib.contextmanager
def _environment() -> Iterator[os._Environ[str]]:
    before = dict(os.environ)
    try:
        yield os.environ
    finally:
        os.environ.clear()
        os.environ.update(before)
