"""What `alhena settings` says of an environment: all that is wrong, nothing that is secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alhena_async.cli._commands import alhena
from alhena_async.cli._settings import look


def run(*options: str, **environ: str) -> tuple[int, str]:
    """Run the command in an environment of its own."""
    ended = CliRunner().invoke(alhena, ["settings", *options], env=environ, catch_exceptions=False)
    return ended.exit_code, ended.output


def found(**environ: str) -> tuple[int, dict[str, Any], list[str]]:
    """What the JSON says: the status, each variable's line, the problems."""
    status, out = run("--json", **environ)
    said = json.loads(out)
    return status, {line["name"]: line for line in said["settings"]}, said["problems"]


def test_it_says_what_is_in_force_and_from_where() -> None:
    """The variable's value as it was read, the default's where there is none."""
    status, lines, problems = found(ALHENA_MAX_IN_FLIGHT="8")
    assert (status, problems) == (0, [])
    assert lines["ALHENA_MAX_IN_FLIGHT"] == {
        "name": "ALHENA_MAX_IN_FLIGHT",
        "sets": "QueuePolicy.max_in_flight",
        "value": 8,
        "source": "environment",
    }
    assert lines["ALHENA_CAPACITY"]["value"] == 10_000
    assert lines["ALHENA_CAPACITY"]["source"] == "default"


def test_all_that_is_wrong_is_said_at_once() -> None:
    """And what is sound beside it is in force."""
    status, lines, problems = found(
        ALHENA_CAPACITY="-3",
        ALHENA_OVERFLOW="maybe",
        ALHENA_BREAKER_OPEN_FOR="9",
        ALHENA_LINGER="2",
    )
    assert status == 1
    assert sorted(problem.split()[0] for problem in problems) == [
        "ALHENA_BREAKER_OPEN_FOR",
        "ALHENA_CAPACITY",
        "ALHENA_OVERFLOW",
    ]
    assert lines["ALHENA_LINGER"]["value"] == 2.0
    assert lines["ALHENA_CAPACITY"]["source"] == "default"


def test_a_slip_of_the_pen_is_found() -> None:
    """A variable that nothing reads changes nothing, and that is not what anybody wants."""
    problems = look({"ALHENA_MAX_INFLIGHT": "8", "ALHENA_ELEPHANT": "1", "HOME": "/"}).problems
    assert problems == (
        "ALHENA_ELEPHANT is read by nothing",
        "ALHENA_MAX_INFLIGHT is read by nothing: did you mean ALHENA_MAX_IN_FLIGHT?",
    )


def test_a_brokers_variables_are_no_slips() -> None:
    """A publisher reads them."""
    assert look({"ALHENA_BROKER": "nats://host", "ALHENA_BROKER_PREFIX": "eu"}).problems == ()
    assert look({"ALHENA_EMULATOR_TOKEN": "a-token-of-the-tests"}).problems == ()


def test_two_variables_that_need_each_other_are_read_together() -> None:
    """Neither is wrong for what it is alone."""
    environ = {"ALHENA_BASE_URL": "http://alhena.internal/", "ALHENA_ALLOW_INSECURE": "1"}
    environ |= {"ALHENA_BREAKER_OPEN_FOR": "9", "ALHENA_BREAKER_OPEN_CAP": "30"}
    assert look(environ).problems == ()
    del environ["ALHENA_ALLOW_INSECURE"]
    assert "ALHENA_BASE_URL cannot work" in look(environ).problems[0]


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("proxy", ["http://me:hunter2@proxy:3128", "socks://me:hunter2@proxy"])
def test_no_password_is_shown(options: tuple[str, ...], proxy: str) -> None:
    """Of a proxy that works, and of one that does not."""
    _, out = run(*options, ALHENA_PROXY=proxy)
    assert "hunter2" not in out
    assert "ALHENA_PROXY" in out


@pytest.mark.parametrize(
    ("name", "text"), [("ALHENA_PROXY", "nowhere"), ("ALHENA_HEADERS", "Host=elsewhere")]
)
def test_commands_that_send_read_them_too(name: str, text: str, tmp_path: Path) -> None:
    """The machine's proxy and gateway are the same whoever sends; a wrong value ends it at once."""
    events = tmp_path / "none.jsonl"
    events.write_text("{}\n")
    arguments = ["replay", str(events), "--company-key", "shop", "--base-url", "http://127.0.0.1:9"]
    arguments += ["--progress", str(tmp_path / "progress"), "--rejects", str(tmp_path / "rejects")]
    ended = CliRunner().invoke(alhena, arguments, env={name: text})
    assert ended.exit_code == 2
    assert f"{name} cannot work" in ended.output
