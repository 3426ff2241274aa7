"""For PyInstaller, which follows imports and sees no files: where its hook for this package is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_directories"]


def hook_directories() -> list[str]:
    """Return the directory of the hook; PyInstaller asks by the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
