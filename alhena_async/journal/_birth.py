"""What a file of events says of itself: whose it is, and when it was begun."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

import attrs

from alhena_async.journal._clock import Anchor
from alhena_async.journal._schema import DamagedError

__all__ = ["Birth"]


@attrs.frozen(kw_only=True)
class Birth:
    """What a file says of itself."""

    uuid: str
    destination: str
    pid: int
    anchor: Anchor

    @classmethod
    def now(cls, destination: str) -> Birth:
        """Return the birth of a file that this process begins."""
        return cls(
            uuid=uuid.uuid4().hex,
            destination=destination,
            pid=os.getpid(),
            anchor=Anchor.here_and_now(),
        )

    def facts(self) -> dict[str, str]:
        """Return it as text."""
        return {
            "uuid": self.uuid,
            "destination": self.destination,
            "pid": str(self.pid),
            "wall": repr(self.anchor.wall),
            "uptime": repr(self.anchor.uptime),
            "boot_id": self.anchor.boot_id,
        }

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> Birth:
        """Read it.

        Raises:
            DamagedError: Something is missing or makes no sense.
        """
        try:
            anchor = Anchor(
                wall=float(facts["wall"]),
                uptime=float(facts["uptime"]),
                boot_id=facts["boot_id"],
            )
            return cls(
                uuid=facts["uuid"],
                destination=facts["destination"],
                pid=int(facts["pid"]),
                anchor=anchor,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedError(f"the file does not say whose it is ({error!r})") from None
