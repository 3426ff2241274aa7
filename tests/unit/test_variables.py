"""Every field of a policy has its variable, read strictly and named in errors."""

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import alhena_async
from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    Coalescing,
    HttpPolicy,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async._config import arguments_from
from alhena_async._variables import BROKER_VARIABLES, EMULATOR_VARIABLE, VARIABLES, Variable
from alhena_async.sync import SyncAlhenaClient

KEY = {"ALHENA_COMPANY_KEY": "shop"}

SOUND: dict[str, tuple[str, Any]] = {
    "a whole number": ("7", 7),
    "a number": ("0.75", 0.75),
    "one of 1, true, yes, on, 0, false, no, off": ("on", True),
    "one of reject, drop, shed": ("Shed", "shed"),
    "one of both, orderId, order_id": ("ORDERID", "orderId"),
    "Name=value,Name=value": ("X-Key=a%2Cb, X-Tenant=shop", {"X-Key": "a,b", "X-Tenant": "shop"}),
    "text": ("http://proxy.internal:3128", "http://proxy.internal:3128"),
}
"""By what a variable takes: a text, and what it says."""

OF_POLICIES = [one for one in VARIABLES if one.owner is not None]


def name_of(variable: Variable) -> str:
    return variable.name


@pytest.mark.parametrize("policy", [QueuePolicy, RetryPolicy, BreakerPolicy, HttpPolicy])
def test_every_field_has_a_variable(policy: type[Any]) -> None:
    """But for what is an object, which no text can say."""
    objects = {"breaker", "ssl", "connector"}
    fields = {field.name for field in attrs.fields(policy)} - objects
    assert {one.field for one in VARIABLES if one.owner is policy} == fields


def test_no_two_fields_share_a_variable() -> None:
    """Nor with what a broker's commands read."""
    names = [one.name for one in VARIABLES] + [*BROKER_VARIABLES, EMULATOR_VARIABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("variable", OF_POLICIES, ids=name_of)
def test_a_variable_reaches_its_field(variable: Variable) -> None:
    """Whatever kind of value it is, and nothing else is touched."""
    text, value = SOUND[variable.kind.meaning]
    arguments = arguments_from(KEY | {variable.name: text}, {})
    assert arguments.keys() == {"company_key", variable.argument}
    assert variable.of(arguments) == value


@pytest.mark.parametrize("variable", OF_POLICIES, ids=name_of)
def test_a_default_is_the_fields_own(variable: Variable) -> None:
    """So that the table tells the truth."""
    defaults = {"queue": QueuePolicy(), "retry": RetryPolicy(), "http": HttpPolicy()}
    assert variable.of(defaults) == variable.default


@pytest.mark.parametrize(
    "variable", [one for one in OF_POLICIES if one.kind.meaning != "text"], ids=name_of
)
@pytest.mark.parametrize("text", ["nonsense", "-3", "nan"])
def test_a_wrong_value_names_its_variable(variable: Variable, text: str) -> None:
    """Whoever refuses it: who reads it, or the policy."""
    with pytest.raises(ValueError, match=f"^{variable.name} "):
        arguments_from(KEY | {variable.name: text}, {})


@pytest.mark.parametrize("variable", [one for one in OF_POLICIES if one.may_be_none], ids=name_of)
def test_none_can_be_said(variable: Variable) -> None:
    """Where the field knows it: no limit, or what the field's text says."""
    arguments = arguments_from(KEY | {variable.name: "None"}, {})
    assert variable.of(arguments) is None


def test_none_cannot_be_said_elsewhere() -> None:
    """A queue without bounds is no setting."""
    with pytest.raises(ValueError, match="ALHENA_CAPACITY must be a whole number, not 'none'"):
        arguments_from(KEY | {"ALHENA_CAPACITY": "none"}, {})


def test_variables_of_a_policy_are_set_on_the_one_that_is_given() -> None:
    """The rest of it stays, its breaker's too."""
    retry = RetryPolicy(base=3, breaker=BreakerPolicy(min_calls=9, open_cap=2))
    environ = KEY | {"ALHENA_RETRY_CAP": "60", "ALHENA_BREAKER_OPEN_FOR": "1.5"}
    assert arguments_from(environ, {"retry": retry})["retry"] == RetryPolicy(
        base=3, cap=60, breaker=BreakerPolicy(min_calls=9, open_for=1.5, open_cap=2)
    )


def test_two_that_cannot_go_together_are_both_named() -> None:
    """Each may be sound alone."""
    environ = KEY | {"ALHENA_BREAKER_OPEN_FOR": "9", "ALHENA_BREAKER_OPEN_CAP": "3"}
    with pytest.raises(ValueError, match="ALHENA_BREAKER_OPEN_FOR or ALHENA_BREAKER_OPEN_CAP"):
        arguments_from(environ, {})
    assert arguments_from(environ | {"ALHENA_BREAKER_OPEN_CAP": "30"}, {})


@pytest.mark.parametrize(
    "texts", [{"ALHENA_LINGER": "900"}, {"ALHENA_LINGER": "2", "ALHENA_CART_DELIVERY_TIMEOUT": "1"}]
)
def test_a_linger_that_outlives_its_events_is_named(texts: dict[str, str]) -> None:
    """Although the two are fields of different policies."""
    with pytest.raises(ValueError, match="^" + " or ".join(texts)):
        arguments_from(KEY | texts, {})


def test_what_is_no_policy_is_for_the_client_to_refuse() -> None:
    """With its own words."""
    with pytest.raises(TypeError, match="retry must be a RetryPolicy, not dict"):
        AlhenaClient.from_env(KEY | {"ALHENA_RETRY_CAP": "1"}, retry={})


def test_a_password_is_not_quoted() -> None:
    """Errors are logged."""
    with pytest.raises(ValueError, match="ALHENA_PROXY cannot work") as caught:
        arguments_from(KEY | {"ALHENA_PROXY": "socks://me:secret@proxy"}, {})
    assert "secret" not in str(caught.value)


def test_coalescing_is_a_variable_too() -> None:
    """An argument of the client: one that is given wins."""
    environ = KEY | {"ALHENA_COALESCING": "OFF"}
    assert arguments_from(environ, {})["coalescing"] is Coalescing.OFF
    assert arguments_from(environ, {"coalescing": "net"})["coalescing"] == "net"
    with pytest.raises(ValueError, match="ALHENA_COALESCING must be one of off, duplicates"):
        arguments_from(KEY | {"ALHENA_COALESCING": "some"}, {})


def test_the_client_without_a_loop_reads_them_too() -> None:
    """By the same table."""
    with pytest.raises(ValueError, match="ALHENA_MAX_IN_FLIGHT"):
        SyncAlhenaClient.from_env(KEY | {"ALHENA_MAX_IN_FLIGHT": "many"})


def test_every_variable_that_the_code_names_is_known() -> None:
    """`alhena settings` calls any other one a mistake."""
    known = {one.name for one in VARIABLES} | {*BROKER_VARIABLES, EMULATOR_VARIABLE}
    root = Path(alhena_async.__file__).parent
    named = {
        name
        for path in root.rglob("*.py")
        for name in re.findall(r"\bALHENA(?:_[A-Z]+)+\b", path.read_text())
    }
    assert named <= known


SETTINGS = Path(__file__).parents[2] / "docs" / "settings.md"


def row_of(variable: Variable) -> str:
    """The line of the page's table."""
    default = "" if variable.default in (None, {}) else f"`{variable.default}`"
    if variable.may_be_none and variable.default is None:
        default = "`none`"
    if isinstance(variable.default, bool):
        default = "`on`" if variable.default else "`off`"
    return f"| `{variable.name}` | `{variable.sets}` | {variable.takes} | {default} |"


def test_the_page_has_the_table() -> None:
    """Each variable, with what it sets, takes and defaults to; in the table's order."""
    page = SETTINGS.read_text().splitlines()
    assert [line for line in page if line.startswith("| `ALHENA_")] == [
        row_of(variable) for variable in VARIABLES
    ]
