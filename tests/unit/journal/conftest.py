"""A disk that can be filled."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of one MiB and a hundred names."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["-o", "size=1m,nr_inodes=100,mode=0700", "tmpfs", str(disk)]
    mounted = subprocess.run(["mount", "-t", "tmpfs", *size], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
