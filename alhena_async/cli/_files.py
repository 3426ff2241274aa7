"""Files that hold what customers did: for their owner's eyes, and never written through a link."""

from __future__ import annotations

import os
import stat
from errno import ELOOP
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Final

SAFE: Final[int] = reduce(
    or_, (getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"))
)
"""How a file is opened: bytes as they are, no link is followed, no child inherits it."""


def private_file(path: Path, magic: bytes, *, regular: bool = True) -> int:
    """Open a file that its owner alone may read and write; it is made where there is none.

    Args:
        path: Where.
        magic: What it must begin with, unless it is empty.
        regular: Refuse devices and pipes.

    Returns:
        The descriptor, to read and write.

    Raises:
        ValueError: It is a symbolic link, no regular file, or holds something else; it is left as
            it was, and the message says which.
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFE, 0o600)
    except OSError as error:
        if error.errno == ELOOP:
            raise ValueError(f"{path} is a symbolic link") from None
        raise
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _check_begins(path, descriptor, magic)
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
        elif regular:
            raise ValueError(f"{path} is no regular file")  # noqa: TRY301  it is closed below
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_begins(path: Path, descriptor: int, magic: bytes) -> None:
    if not magic.startswith(os.read(descriptor, len(magic))):
        raise ValueError(f"{path} holds something else")
    os.lseek(descriptor, 0, os.SEEK_SET)
