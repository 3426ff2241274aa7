"""Draws sampled stacks: the wider a function, the more samples it, or what it calls, was found in.

A sample is a line `outermost;...;innermost count`, each frame as `function (file)`: what samplers
call collapsed stacks. What lies outside of a root is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Self

import attrs

__all__ = ["Frame", "draw", "fold"]

_WIDTH = 1_000.0
_ROW = 17
_TOP = 46
_CHARACTER = 6.2  # pixels, about, of the letters below
_LEAST = 1.5  # pixels; what is narrower is not drawn
_COLOURS = {
    "alhena_async": (r"alhena_async", "#f0a46b"),
    "TLS": (r"sslproto|\bssl\.py", "#8fc1b3"),
    "aiohttp": (r"aiohttp", "#a9b8cb"),
    "asyncio": (r"asyncio", "#dfe3e8"),
    "other": (r"", "#efe4cb"),
}
"""Whose a file is, by the first pattern that it matches."""


@attrs.define
class Frame:
    """A function as it was called by the ones above, and how many samples it was found in."""

    function: str
    file: str = ""
    samples: int = 0
    called: dict[str, Self] = attrs.field(factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((frame.depth for frame in self.called.values()), default=0)


def fold(lines: Iterable[str], *, roots: Iterable[str], name: str) -> Frame:
    """Join the samples that pass one of the root functions into a tree; the roots lie on top."""
    known = set(roots)
    tree = Frame(name)
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_parted(frame) for frame in stack.split(";")]
        below = [place for place, (function, _) in enumerate(frames) if function in known]
        if below:
            _add(tree, frames[below[0] :], int(count))
    return tree


def _parted(frame: str) -> tuple[str, str]:
    """Return function and file, without the line."""
    function, _, file = frame.rpartition(" (")
    return function, file.removesuffix(")").rpartition(":")[0] or file.removesuffix(")")


def _add(tree: Frame, frames: list[tuple[str, str]], count: int) -> None:
    tree.samples += count
    for function, file in frames:
        tree = tree.called.setdefault(f"{function} {file}", Frame(function, file))
        tree.samples += count


def draw(tree: Frame) -> str:
    """Return the tree as SVG, the callers above."""
    height = _TOP + _ROW * tree.depth + 8
    boxes = "\n".join(_boxes(tree, 0.0, 0, _WIDTH / max(tree.samples, 1)))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height}" \
font-family="Verdana, DejaVu Sans, sans-serif" font-size="10.5">
<rect width="{_WIDTH:g}" height="{height}" fill="#fff"/>
<text x="4" y="16" font-size="14">{escape(tree.function)}</text>
{"".join(_legend())}
{boxes}
</svg>
"""


def _legend() -> Iterator[str]:
    place = 4.0
    for label, (_, colour) in _COLOURS.items():
        yield f'<rect x="{place:g}" y="26" width="11" height="11" fill="{colour}"/>'
        yield f'<text x="{place + 15:g}" y="35.5">{label}</text>'
        place += 34 + _CHARACTER * len(label)


def _boxes(frame: Frame, left: float, level: int, scale: float) -> Iterator[str]:
    """Yield the boxes of what a frame calls, the widest first."""
    for called in sorted(frame.called.values(), key=lambda one: -one.samples):
        width = called.samples * scale
        if width < _LEAST:
            return
        share = f"{width / _WIDTH:.1%}"
        top = _TOP + _ROW * level
        label = _label(called.function, share, width)
        yield (
            f"<g><title>{escape(f'{called.function} ({called.file}): {share}')}</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{width - 0.5:.1f}" height="{_ROW - 1}" '
            f'fill="{_colour(called.file)}"/>'
            + (f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(label)}</text>' if label else "")
            + "</g>"
        )
        yield from _boxes(called, left, level + 1, scale)
        left += width


def _colour(file: str) -> str:
    return next(colour for pattern, colour in _COLOURS.values() if re.search(pattern, file))


def _label(function: str, share: str, width: float) -> str:
    """Return the longest label that fits."""
    room = int((width - 6) / _CHARACTER)
    short = function.rpartition(".")[2]
    for label in (f"{function} {share}", function, f"{short} {share}", short):
        if len(label) <= room:
            return label
    return f"{short[: room - 1]}\N{HORIZONTAL ELLIPSIS}" if room >= 4 else ""
