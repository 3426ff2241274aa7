"""What fails for a while: said when it begins and when it is over, and tried at intervals."""

from __future__ import annotations

import logging

from alhena_async.errors import JournalError
from alhena_async.journal._clock import uptime

__all__ = ["Outage"]

_log = logging.getLogger("alhena_async")


class Outage:
    """Whether one thing fails, since when and why.

    Args:
        pause: Seconds between two tries while it fails. Default 0: every time.
    """

    def __init__(self, *, pause: float = 0.0) -> None:
        self.cause: JournalError | None = None
        """Why it fails, as of the last try; None as long as all goes well."""
        self.began = 0.0
        """When it began to, on the clock of `uptime`."""
        self._pause = pause
        self._tried = 0.0

    def may_try(self, *, urgent: bool = False) -> bool:
        """Return whether to try now, and count that as the last try.

        Args:
            urgent: Try, even if it has only just failed.
        """
        now = uptime()
        if self.cause is not None and not urgent and now - self._tried < self._pause:
            return False
        self._tried = now
        return True

    def failed(self, cause: JournalError, consequence: str) -> JournalError:
        """Note a failure and return its cause; the first of a row is logged.

        Args:
            cause: Why, with what to do.
            consequence: What it means meanwhile.
        """
        if self.cause is None:
            self.began = uptime()
            _log.error("%s; %s (said once)", cause, consequence)
        self.cause = cause
        return cause

    def succeeded(self, news: str) -> None:
        """Note that it goes well; logged if it did not.

        Args:
            news: What is over.
        """
        if self.cause is not None:
            _log.warning("%s", news)
            self.cause = None
