"""Report cart and checkout events to Alhena from an asyncio service."""

from alhena_async._version import __version__

__all__ = ["__version__"]
