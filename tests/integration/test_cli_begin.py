"""What `alhena replay` says before it sends anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_process import alhena, cart, lines_of


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("day.jsonl",), "ALHENA_COMPANY_KEY"),
        (("absent.jsonl", "--company-key", "k"), "No such file"),
        ((".", "--company-key", "k"), "directory"),
        (("day.jsonl", "--company-key", "k", "--base-url", "ftp://x"), "base_url"),
        (("day.jsonl", "--company-key", "k", "--base-url", "http://x.example"), "plain http"),
        (("day.jsonl", "--company-key", "k", "--rate", "fast"), "50/s"),
        (("day.jsonl", "--company-key", "k", "--speed", "-1"), "above 0"),
        (("day.jsonl", "--company-key", "k", "--rejects", "day.jsonl"), "different files"),
        (("day.jsonl", "--company-key", "k", "--progress", "no/dir/x"), "cannot write"),
        (("day.jsonl", "--company-key", "k", "--progress", "/dev/null"), "no regular file"),
        (("day.jsonl", "--company-key", "k", "--drain", "nan"), "at most"),
        (("day.jsonl", "--company-key", "k", "--give-up-after", "inf"), "at most"),
        (("day.jsonl", "--company-key", "k", "--rejects", "no/dir/x"), "cannot write no/dir/x"),
        (("day.jsonl", "--company-key", "k", "--rejects", "other.txt"), "holds something else"),
        (("absent\x1b[2J.jsonl", "--company-key", "k"), "cannot read absent.jsonl"),
        (("day.jsonl", "--company-key", "k", "--resume", "--restart"), "exclude"),
        (("-", "--company-key", "k", "--resume"), "--progress"),
        (("day.jsonl", "--company-key", "k", "--progress", "link"), "link is a symbolic link"),
        (("day.jsonl", "--company-key", "k", "--rejects", "link"), "link is a symbolic link"),
        (("day.jsonl", "--company-key", "k", "--allow-rejects", "some"), "a share of them"),
        (("day.jsonl", "--company-key", "k", "--allow-rejects", "101%"), "a share of them"),
        (("day.jsonl", "--company-key", "k", "--allow-rejects", "-1"), "a share of them"),
    ],
)
async def test_what_cannot_begin_says_why(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """A wrong option, input or output ends with status 2 and one clear text, and sends nothing."""
    (tmp_path / "other.txt").write_bytes(b"of somebody else\n")
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1)))
    (tmp_path / "link").symlink_to("nowhere")
    # No address is ever reached: each of these ends before the first event.
    if "--base-url" not in arguments:
        arguments = (*arguments, "--base-url", "http://127.0.0.1:9")
    run = await alhena("replay", *arguments, cwd=tmp_path)
    assert run.status == 2, run
    assert told in run.err
    assert "Traceback" not in run.err
    assert "\x1b" not in run.err
    assert (tmp_path / "day.jsonl").read_bytes() == lines_of(cart(1))
    assert (tmp_path / "other.txt").read_bytes() == b"of somebody else\n"
    assert not (tmp_path / "day.progress.jsonl").exists()


async def test_the_help_says_what_resuming_a_pipe_takes_for_granted(tmp_path: Path) -> None:
    """A pipe is known by its first line only: --help says plainly what that means."""
    run = await alhena("replay", "--help", cwd=tmp_path)
    told = " ".join(run.out.split())
    assert "a pipe is known by its first line only" in told
    assert "would be passed over unsent" in told


async def test_a_real_destination_is_reminded_of(tmp_path: Path) -> None:
    """A destination off this machine gets the note on timestamps and Shopify; loopback none."""
    (tmp_path / "day.jsonl").write_bytes(b"\n")
    away = await alhena(
        "replay",
        "day.jsonl",
        "--base-url",
        "https://shop.invalid/",
        "--company-key",
        "k",
        cwd=tmp_path,
    )
    assert (away.status, "Shopify" in away.err, "timestamps" in away.err) == (1, True, True)
    assert "There was no event in it." in away.out
    (tmp_path / "other.jsonl").write_bytes(b"\n")
    here = await alhena(
        "replay", "other.jsonl", "--base-url", "http://[::1]:9/", "--company-key", "k", cwd=tmp_path
    )
    assert (here.status, "Shopify" in here.err) == (1, False)
