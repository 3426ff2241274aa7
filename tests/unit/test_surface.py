"""The public names: what is promised is there, and what is there is meant."""

import contextlib
import enum
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, NoneType

import attrs
import pytest

import alhena_async
from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    CartEvent,
    CheckoutEvent,
    CloseReport,
    HttpPolicy,
    InvalidEvent,
    LineItem,
    Outcome,
    QueuePolicy,
    Receipt,
    RetryPolicy,
    Stats,
    _wire,
    client,
    errors,
    events,
    observers,
    outcomes,
    policies,
    testing,
    transports,
)
from tests.bare import run_bare
from tests.surface import FILE, surface

MODULES = [
    alhena_async, client, errors, events, observers, outcomes, policies, testing, transports, _wire
]  # fmt: skip

PROMISED = [
    "AlhenaClient",
    "CloseReport",
    "Receipt",
    "__version__",
    "current_client",
    "current_visitor",
    "Visitor",
    "CartEvent",
    "CartEventType",
    "CheckoutEvent",
    "LineItem",
    "Outcome",
    "OutcomeStatus",
    "ErrorCode",
    "Stats",
    "Observer",
    "Region",
    "QueuePolicy",
    "RetryPolicy",
    "SQLiteJournal",
    "BreakerPolicy",
    "HttpPolicy",
    "Coalescing",
    "Overflow",
    "OrderIdField",
    "AlhenaError",
    "AlhenaTimeoutError",
    "InvalidEvent",
    "InvalidEventError",
    "QueueFullError",
    "ClientClosedError",
    "JournalError",
    "DeliveryError",
    "RejectedError",
    "MissingRequiredFieldsError",
    "CompanyNotFoundError",
    "ActiveTicketNotFoundError",
    "PreviousItemAddedEventNotFoundError",
    "PreviousQuantityIncreasedEventNotFoundError",
    "OrderAlreadyExistsError",
    "OutboxError",
    "DeliveryExpiredError",
    "DeliveryUnknownError",
    "DeliveryDroppedError",
    "DeliveryAbandonedError",
]


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_name_is_there(name: str) -> None:
    """Everything that a user writes down comes from `alhena_async` itself."""
    assert hasattr(alhena_async, name)
    assert name in alhena_async.__all__


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_names_what_is_there_in_order(module: ModuleType) -> None:
    """Each `__all__` is sorted, holds nothing twice and nothing that does not exist."""
    names: list[str] = module.__all__
    assert names == sorted(set(names))
    for name in names:
        assert hasattr(module, name), name
    assert module.__doc__


@pytest.mark.parametrize(
    "module",
    [errors, events, outcomes, policies, observers, transports],
    ids=lambda module: module.__name__,
)
def test_all_forgets_no_public_class(module: ModuleType) -> None:
    """A class without an underscore that a public module defines is public."""
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert defined <= set(module.__all__)


@pytest.mark.parametrize("name", [one for one in alhena_async.__all__ if one != "__version__"])
def test_every_public_name_is_explained(name: str) -> None:
    """Classes have docstrings of their own."""
    value = getattr(alhena_async, name)
    if inspect.isclass(value):
        assert value.__doc__
        assert not value.__doc__.startswith("Method generated")


@pytest.mark.parametrize(
    "call", [CartEvent, CartEvent.for_change, CartEvent.changes, CheckoutEvent, LineItem]
)
def test_a_value_is_explained_by_its_unit(call: object) -> None:
    """Whoever has cents reads it where they fill the field in."""
    text = " ".join((inspect.getdoc(call) or "").split())
    assert re.search(r"in major units[:,] 19\.99,? (and )?not 1999", text)


def test_dir_is_the_public_surface() -> None:
    """What an editor offers is what is meant: no private module, and no lazy name left out."""
    assert dir(alhena_async) == alhena_async.__all__
    assert "SQLiteJournal" in dir(alhena_async)
    program = "import alhena_async; print(*dir(alhena_async))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == alhena_async.__all__


def test_star_import_gives_the_public_names_only() -> None:
    """No helper and no library leaks through."""
    space: dict[str, object] = {}
    exec("from alhena_async import *", space)
    assert set(space) - {"__builtins__"} == set(alhena_async.__all__)


def parameters(call: object) -> dict[str, object]:
    """A call's parameters with their defaults, `self` left out."""
    assert callable(call)
    signature = inspect.signature(call)
    return {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if name != "self"
    }


REQUIRED = inspect.Parameter.empty


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (AlhenaClient.track_nowait, {"event": REQUIRED, "company_key": None}),
        (AlhenaClient.track, {"event": REQUIRED, "timeout": None, "company_key": None}),
        (AlhenaClient.track_threadsafe, {"event": REQUIRED, "company_key": None}),
        (AlhenaClient.record, {"event": REQUIRED, "timeout": 10.0, "company_key": None}),
        (AlhenaClient.flush, {"timeout": None}),
        (AlhenaClient.close, {"timeout": 10.0}),
        (AlhenaClient.start, {}),
        (AlhenaClient.run, {"drain_timeout": 10.0}),
        (AlhenaClient.stats, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_calls_have_the_promised_parameters(call: object, expected: dict[str, object]) -> None:
    """Names and defaults of the contract."""
    assert parameters(call) == expected


def test_the_constructor_has_the_promised_parameters() -> None:
    """The key by place, everything else by name only."""
    signature = inspect.signature(AlhenaClient)
    assert list(signature.parameters) == [
        "company_key",
        "region",
        "base_url",
        "queue",
        "retry",
        "http",
        "coalescing",
        "journal",
        "observers",
        "before_send",
        "enabled",
        "transport",
        "outbox",
    ]
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}
    defaults = parameters(AlhenaClient)
    assert defaults["region"] == "us"
    assert defaults["coalescing"] == "latest"
    assert defaults["enabled"] is True
    assert defaults["observers"] == ()


def test_the_rest_of_the_door_is_there() -> None:
    """`record_all`, `from_env`, `async with`, and a receipt that can be awaited."""
    assert next(iter(parameters(AlhenaClient.record_all))) == "events"
    assert inspect.ismethod(AlhenaClient.from_env)
    assert inspect.iscoroutinefunction(AlhenaClient.__aenter__)
    assert inspect.iscoroutinefunction(AlhenaClient.__aexit__)
    assert hasattr(Receipt, "__await__")


def test_a_receipt_shows_what_is_promised_and_nothing_of_the_engine() -> None:
    """`await`, and six names."""
    shown = {name for name in dir(Receipt) if not name.startswith("_")}
    assert shown == {"accepted_at", "add_done_callback", "done", "event", "id", "outcome"}


def public_modules() -> list[ModuleType]:
    """Every module with an import path that is promised."""
    found = pkgutil.walk_packages(alhena_async.__path__, "alhena_async.")
    names = [one.name for one in found if "._" not in one.name]
    return [alhena_async, *(importlib.import_module(name) for name in names)]


def signatures() -> Iterator[tuple[str, inspect.Signature]]:
    """Every public call: functions, classes and their methods."""
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            members = [value, *(vars(value).values() if inspect.isclass(value) else ())]
            for member in members:
                call = getattr(member, "__func__", member)
                if callable(call) and "alhena_async" in str(getattr(call, "__module__", "")):
                    with contextlib.suppress(ValueError):  # some classes have none
                        yield f"{module.__name__}.{name}", inspect.signature(call)


PLAIN = (NoneType, bool, int, float, str, bytes, enum.Enum, type)


def test_no_default_shows_what_belongs_to_the_machine() -> None:
    """`help` prints defaults: the environment is none, nor is anything that can change."""
    seen = 0
    for where, signature in signatures():
        for parameter in signature.parameters.values():
            default = parameter.default
            if default is parameter.empty:
                continue
            seen += 1
            kind = default if inspect.isfunction(default) else type(default)
            is_ours = kind.__module__.startswith("alhena_async")
            plain = isinstance(default, PLAIN) or default == () or is_ours
            assert plain or default is attrs.NOTHING, f"{where}: {parameter}"
    assert seen > 200


EXPLAINED = [
    BreakerPolicy, CloseReport, HttpPolicy, InvalidEvent, Outcome, QueuePolicy, RetryPolicy, Stats
]  # fmt: skip
BEGINS_AT_0 = {field.name for field in attrs.fields(Stats) if field.default == 0}


def shown(default: object) -> str:
    """A default as the pages write it."""
    if isinstance(default, enum.Enum):
        return f"`{type(default).__name__}.{default.name}`"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class at runtime
        return f"`{default.factory.__name__}()`"  # type: ignore[attr-defined]
    number = isinstance(default, int | float) and not isinstance(default, bool)
    return f"{default:,}".removesuffix(".0") if number else str(default)


@pytest.mark.parametrize("kind", EXPLAINED, ids=lambda kind: kind.__name__)
def test_help_explains_every_field_with_its_default(kind: type[attrs.AttrsInstance]) -> None:
    """What a number means, and what it is when nobody says otherwise, is read off `help`."""
    _, _, fields = (inspect.getdoc(kind) or "").partition("s:\n")
    told = dict(re.findall(r"^    (\w+): (.+(?:\n     .+)*)", fields, re.MULTILINE))
    assert list(told) == [field.name for field in attrs.fields(kind)]
    for field in attrs.fields(kind):
        if field.default is not attrs.NOTHING and (
            kind is not Stats or field.name not in BEGINS_AT_0
        ):
            text = " ".join(told[field.name].split())
            assert f"Default {shown(field.default)}" in text, field.name


def test_durations_and_sizes_have_a_unit() -> None:
    """A float is seconds, unless it says that it is a share."""
    for kind in (BreakerPolicy, HttpPolicy, QueuePolicy, RetryPolicy):
        doc = " ".join((inspect.getdoc(kind) or "").split())
        for field in attrs.fields(kind):
            if field.type == "float":
                text = doc.partition(f" {field.name}: ")[2].partition("Default")[0]
                assert "econds" in text or "share" in text, field.name


def test_help_shows_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of help is pasted into tickets."""
    program = "from alhena_async import AlhenaClient; help(AlhenaClient)"
    environment = {**os.environ, "SECRET_TOKEN": "hunter2"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, env=environment
    )
    assert "from_env" in done.stdout
    assert "hunter2" not in done.stdout


def test_the_values_have_the_promised_fields() -> None:
    """`Outcome`, `Stats` and `CloseReport`, as the contract lists them."""
    outcome = {field.name for field in attrs.fields(Outcome)} | set(dir(Outcome))
    assert outcome >= {
        "status", "event", "code", "http_status", "attempts", "elapsed", "ambiguous", "detail",
        "ok", "raise_for_status",
    }  # fmt: skip
    report = {field.name for field in attrs.fields(client.CloseReport)}
    assert report == {"undelivered", "stats"}
    stats = {field.name for field in attrs.fields(Stats)}
    assert stats >= {"accepted", "replayed", "queued", "in_flight", "retries", "requests"}
    assert stats >= {"invalid", "not_accepted"}


def test_the_version_is_a_version() -> None:
    """Three numbers, perhaps with a suffix."""
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", alhena_async.__version__)


def test_importing_starts_nothing() -> None:
    """No event loop, no thread, no warning, no log line, no optional package."""
    program = (
        "import sys, threading, warnings; warnings.simplefilter('error')\n"
        "import alhena_async\n"
        "assert threading.active_count() == 1\n"
        "for name in ('click', 'rich', 'sqlite3', 'uvloop', 'pytest', 'alhena_async.emulator'):\n"
        "    assert name not in sys.modules, name\n"
    )
    assert run_bare(program) == ""


def test_the_surface_is_written_down() -> None:
    """Names, signatures and defaults: what changes for users shows. `python -m tests.surface`."""
    assert surface().splitlines() == FILE.read_text().splitlines()
