"""The plug of the shop's server: who runs `python -m examples.shop` may pull it from the page.

The process then ends between COMMIT and answer, where a power cut hurts most: the customer has
paid, and nobody but the database knows.
"""

from __future__ import annotations

import os
import signal
from typing import Final

MAY_BE_PULLED: Final = os.environ.get("SHOP_MAY_BE_UNPLUGGED") == "1"
"""Set by `python -m examples.shop`, which starts the shop again."""


def pull() -> None:
    """End this process at once, as a power cut does: nothing is written, nobody is told."""
    if MAY_BE_PULLED:
        os.kill(os.getpid(), signal.SIGKILL)
