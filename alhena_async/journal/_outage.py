"""Trouble with the disk that lasts: logged as it begins, every five minutes, and when it ends."""

from __future__ import annotations

import logging
from typing import Final

from alhena_async.errors import JournalError
from alhena_async.journal._clock import uptime

__all__ = ["Outage"]

_log = logging.getLogger("alhena_async")

_REMINDER_EVERY: Final = 300.0
"""Seconds between two reminders of what goes on failing."""


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
        self._told = 0.0

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
        """Note a failure and return its cause; logged when the trouble begins, then as a reminder.

        Args:
            cause: Why, with what to do.
            consequence: What it means meanwhile.
        """
        now = uptime()
        if self.cause is None:
            self.began = self._told = now
            _log.error("alhena: %s; %s", cause, consequence)
        elif now - self._told >= _REMINDER_EVERY:
            self._told = now
            minutes = (now - self.began) / 60
            _log.warning("alhena: %s, still, for %.0f min; %s", cause, minutes, consequence)
        self.cause = cause
        return cause

    def succeeded(self, news: str) -> None:
        """Note that it went well; logged if it failed before.

        Args:
            news: What is over.
        """
        if self.cause is not None:
            _log.warning("alhena: %s", news)
            self.cause = None
