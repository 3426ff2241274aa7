"""`ALHENA_*` variables: read strictly, named in errors, outranked by arguments."""

from pathlib import Path

import pytest

from alhena_async import AlhenaClient, HttpPolicy, QueuePolicy
from alhena_async._config import arguments_from, journal_of, unread_variable
from alhena_async.journal import SQLiteJournal

KEY = {"ALHENA_COMPANY_KEY": "shop"}


def test_every_variable_reaches_its_argument() -> None:
    """With spaces around taken off, and others' variables left alone."""
    environ = KEY | {
        "ALHENA_REGION": " eu ",
        "ALHENA_BASE_URL": "https://example.test/",
        "ALHENA_ENABLED": "No",
        "ALHENA_LINGER": "0.25",
        "ALHENA_CAPACITY": "7",
        "ALHENA_JOURNAL": "var/alhena",
        "HOME": "/root",
    }
    arguments = arguments_from(environ, {})
    assert arguments == {
        "company_key": "shop",
        "region": "eu",
        "base_url": "https://example.test/",
        "enabled": False,
        "journal": "var/alhena",
        "queue": QueuePolicy(linger=0.25, capacity=7),
    }


def test_an_empty_variable_counts_as_unset() -> None:
    """As a deployment's template leaves it."""
    environ = KEY | dict.fromkeys(["ALHENA_REGION", "ALHENA_ENABLED", "ALHENA_LINGER"], " ")
    assert arguments_from(environ, {}) == {"company_key": "shop"}


def test_what_is_given_wins() -> None:
    """A key that is given wins over its variable."""
    arguments = arguments_from(KEY, {"company_key": "other"})
    assert arguments == {"company_key": "other"}


def test_the_operator_sets_the_numbers_of_a_given_queue() -> None:
    """Linger and capacity come from their variables; the rest of the queue stays as given."""
    environ = KEY | {"ALHENA_LINGER": "2", "ALHENA_CAPACITY": "7"}
    arguments = arguments_from(environ, {"queue": QueuePolicy(linger=0.0, overflow="drop")})
    assert arguments["queue"] == QueuePolicy(linger=2.0, capacity=7, overflow="drop")


def test_a_number_that_cannot_work_names_its_variable() -> None:
    """The policy's own complaint stands behind it."""
    with pytest.raises(ValueError, match=r"ALHENA_LINGER .*QueuePolicy.linger"):
        arguments_from(KEY | {"ALHENA_LINGER": "-1"}, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALHENA_ENABLED", "maybe"),
        ("ALHENA_LINGER", "soon"),
        ("ALHENA_CAPACITY", "1.5"),
    ],
)
def test_what_cannot_be_read_names_its_variable(name: str, text: str) -> None:
    """And shows the text."""
    with pytest.raises(ValueError, match=f"{name}.*'{text}'"):
        arguments_from(KEY | {name: text}, {})


@pytest.mark.parametrize(
    ("name", "text"), [("ALHENA_REGION", "moon"), ("ALHENA_BASE_URL", "example.test")]
)
def test_a_place_that_is_none_names_its_variable(name: str, text: str) -> None:
    """Unless an argument stands in for it: then nobody reads the variable."""
    with pytest.raises(ValueError, match=f"{name} (cannot work|must be one of us, eu)"):
        arguments_from(KEY | {name: text}, {})
    given = {name.removeprefix("ALHENA_").lower(): "given"}
    assert given.items() <= arguments_from(KEY | {name: text}, given).items()


def test_a_plain_http_url_needs_a_word() -> None:
    """A policy in the code may say it, or the variable beside it."""
    environ = KEY | {"ALHENA_BASE_URL": "http://alhena.internal/"}
    with pytest.raises(ValueError, match=r"ALHENA_BASE_URL cannot work.*plain http"):
        arguments_from(environ, {})
    for given, variables in (
        ({"http": HttpPolicy(allow_insecure=True)}, {}),
        ({}, {"ALHENA_ALLOW_INSECURE": "yes"}),
    ):
        arguments = arguments_from(environ | variables, given)
        assert arguments["base_url"] == "http://alhena.internal/"


@pytest.mark.parametrize("text", ["nan", "inf", "-1"])
def test_a_number_that_cannot_work_is_refused(text: str) -> None:
    """By the policy's own rule."""
    with pytest.raises(ValueError, match="linger"):
        arguments_from(KEY | {"ALHENA_LINGER": text}, {})


def test_without_a_company_key_the_message_names_the_variable() -> None:
    """The first thing that a new deployment lacks."""
    with pytest.raises(ValueError, match="ALHENA_COMPANY_KEY"):
        AlhenaClient.from_env({})


def test_from_env_makes_a_client() -> None:
    """From the real environment's shape, with arguments on top."""
    client = AlhenaClient.from_env(KEY | {"ALHENA_REGION": "eu"}, enabled=False)
    assert client.base_url == "https://eu.alhena.ai/"


def test_a_journal_is_a_directory(tmp_path: Path) -> None:
    """Which is touched by nobody before the start."""
    where = tmp_path / "alhena"
    environ = KEY | {"ALHENA_JOURNAL": str(where)}
    journal = journal_of(arguments_from(environ, {})["journal"])
    assert isinstance(journal, SQLiteJournal)
    assert journal.directory == where
    AlhenaClient.from_env(environ)
    assert not where.exists()


@pytest.mark.parametrize("given", ["EU", "Eu", " eu "])
def test_a_region_is_read_in_any_case(given: str) -> None:
    """As operators write it."""
    assert arguments_from(KEY | {"ALHENA_REGION": given}, {})["region"] == "eu"


@pytest.mark.parametrize("word", ["0", "off", "FALSE"])
def test_what_is_switched_off_needs_no_key(word: str) -> None:
    """A laptop, a test, a preview: there is no key, and nothing to send it with."""
    client = AlhenaClient.from_env({"ALHENA_ENABLED": word})
    assert "AlhenaClient" in repr(client)
    with pytest.raises(ValueError, match="ALHENA_COMPANY_KEY is not set"):
        AlhenaClient.from_env({"ALHENA_ENABLED": "1"})


def test_a_switch_that_is_given_needs_no_key_either() -> None:
    """`from_env(enabled=False)` is the same."""
    assert arguments_from({}, {"enabled": False})["enabled"] is False


@pytest.mark.parametrize(
    ("set_", "base_url", "named"),
    [
        ({}, "https://app.alhena.ai/", None),
        ({"ALHENA_BASE_URL": "http://127.0.0.1:8787"}, "https://app.alhena.ai/", "ALHENA_BASE_URL"),
        ({"ALHENA_BASE_URL": "https://app.alhena.ai"}, "https://app.alhena.ai/", None),
        ({"ALHENA_BASE_URL": "http://127.0.0.1:8787"}, "http://127.0.0.1:4711/", None),
        ({"ALHENA_BASE_URL": "http://127.0.0.1:8787"}, "nats://nats:4222", None),
        ({"ALHENA_ENABLED": " Off "}, "https://app.alhena.ai/", "ALHENA_ENABLED"),
        ({"ALHENA_ENABLED": "1"}, "https://app.alhena.ai/", None),
        ({"ALHENA_BASE_URL": " "}, "https://app.alhena.ai/", None),
    ],
)
def test_a_variable_for_a_trial_that_is_not_read_is_named(
    set_: dict[str, str], base_url: str, named: str | None
) -> None:
    """Only where events leave the machine although it says that they should not, or elsewhere."""
    assert unread_variable(set_, base_url) == named
