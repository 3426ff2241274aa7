"""How a client may be set up: defaults as promised, and nothing that cannot work."""

from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
import pytest

from alhena_async import AlhenaClient
from alhena_async.policies import (
    BreakerPolicy,
    Coalescing,
    HttpPolicy,
    OrderIdField,
    Overflow,
    QueuePolicy,
    Region,
    RetryPolicy,
    resolve_base_url,
)

DEFAULTS: list[tuple[type[Any], dict[str, object]]] = [
    (
        QueuePolicy,
        {
            "capacity": 10_000,
            "lane_capacity": 300,
            "checkout_reserve": 0.05,
            "capacity_bytes": None,
            "linger": None,
            "flush_at": 1_000,
            "max_in_flight": 32,
            "overflow": Overflow.REJECT,
            "max_rate": None,
            "track_timeout": None,
        },
    ),
    (
        RetryPolicy,
        {
            "base": 0.25,
            "throttle_base": 1.0,
            "cap": 30.0,
            "retry_after_cap": 300.0,
            "max_attempts": None,
            "cart_delivery_timeout": 900.0,
            "checkout_delivery_timeout": 86_400.0,
            "precondition_retries": 1,
            "precondition_delay": 2.0,
            "retry_ambiguous_carts": True,
            "assign_order_ids": True,
            "breaker": BreakerPolicy(),
        },
    ),
    (
        BreakerPolicy,
        {
            "failure_ratio": 1.0,
            "min_calls": 150,
            "open_for": 0.1,
            "open_cap": 5.0,
        },
    ),
    (
        HttpPolicy,
        {
            "connect_timeout": 3.0,
            "request_timeout": 10.0,
            "order_id_field": OrderIdField.BOTH,
            "max_reply_bytes": 65_536,
            "allow_insecure": False,
            "proxy": None,
            "headers": {},
            "ssl": None,
            "connector": None,
        },
    ),
]
POLICIES = [policy for policy, _ in DEFAULTS]


@pytest.mark.parametrize(("policy", "defaults"), DEFAULTS)
def test_the_defaults_are_the_promised_ones(policy: type[Any], defaults: dict[str, object]) -> None:
    """Every field of the contract with its default, and no other field."""
    assert attrs.asdict(policy(), recurse=False) == defaults


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_frozen_and_keyword_only(policy: type[Any]) -> None:
    """A policy is a value: shared freely, told apart by content, given by name."""
    name = attrs.fields(policy)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(policy(), name, 1)
    with pytest.raises(TypeError):
        policy(1)
    assert policy() == policy()


DURATIONS = [
    pytest.param(policy, field, zero, id=f"{policy.__name__}.{field}")
    for policy, field, zero in [
        (BreakerPolicy, "failure_ratio", False),
        (BreakerPolicy, "open_for", False),
        (BreakerPolicy, "open_cap", False),
        (RetryPolicy, "base", False),
        (RetryPolicy, "throttle_base", False),
        (RetryPolicy, "cap", False),
        (RetryPolicy, "retry_after_cap", False),
        (RetryPolicy, "cart_delivery_timeout", False),
        (RetryPolicy, "checkout_delivery_timeout", False),
        (QueuePolicy, "checkout_reserve", True),
        (RetryPolicy, "precondition_delay", True),
        (HttpPolicy, "connect_timeout", False),
        (HttpPolicy, "request_timeout", False),
    ]
]
WHOLES = [
    pytest.param(policy, field, least, id=f"{policy.__name__}.{field}")
    for policy, field, least in [
        (QueuePolicy, "capacity", 1),
        (QueuePolicy, "lane_capacity", 1),
        (QueuePolicy, "capacity_bytes", 1),
        (QueuePolicy, "flush_at", 1),
        (QueuePolicy, "max_in_flight", 1),
        (BreakerPolicy, "min_calls", 1),
        (RetryPolicy, "max_attempts", 1),
        (RetryPolicy, "precondition_retries", 0),
        (HttpPolicy, "max_reply_bytes", 1),
    ]
]
FLAGS = [
    pytest.param(policy, field, id=f"{policy.__name__}.{field}")
    for policy, field in [
        (RetryPolicy, "retry_ambiguous_carts"),
        (RetryPolicy, "assign_order_ids"),
        (HttpPolicy, "allow_insecure"),
    ]
]


def refused(kind: type[Exception], policy: type[Any], field: str, value: object) -> None:
    with pytest.raises(kind, match=rf"^{policy.__name__}\.{field} must be "):
        policy(**{field: value})


@pytest.mark.parametrize(("policy", "field", "zero"), DURATIONS)
def test_a_duration_is_a_finite_number_of_seconds(
    policy: type[Any], field: str, zero: bool
) -> None:
    """NaN, infinity and the negative are refused; 0 only passes where it means something."""
    wrong: list[Any] = [float("nan"), float("inf"), float("-inf"), -1, -1e-9, 10**400]
    for value in wrong:
        refused(ValueError, policy, field, value)
    for value in ("5", None, True, b"5", 5j, [5]):
        refused(TypeError, policy, field, value)
    if zero:
        assert getattr(policy(**{field: 0}), field) == 0
    else:
        refused(ValueError, policy, field, 0)
        refused(ValueError, policy, field, -0.0)


@pytest.mark.parametrize(("policy", "field", "least"), WHOLES)
def test_a_count_is_a_whole_number(policy: type[Any], field: str, least: int) -> None:
    """The least passes, one below does not, and no float or bool is taken for a count."""
    assert getattr(policy(**{field: least}), field) == least
    refused(ValueError, policy, field, least - 1)
    for value in (1.0, 1.5, "1", True, False, float("nan"), [1]):
        refused(TypeError, policy, field, value)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (QueuePolicy, "capacity_bytes"),
        (QueuePolicy, "flush_at"),
        (RetryPolicy, "max_attempts"),
    ],
)
def test_a_limit_may_be_absent(policy: type[Any], field: str) -> None:
    """None: no such limit."""
    assert getattr(policy(**{field: None}), field) is None


def test_the_reserve_is_a_share_below_one() -> None:
    """All of it for checkouts would leave carts no room at all."""
    assert QueuePolicy(checkout_reserve=0).checkout_reserve == 0
    assert QueuePolicy(checkout_reserve=0.99).checkout_reserve == 0.99
    for wrong in (1, 1.5):
        refused(ValueError, QueuePolicy, "checkout_reserve", wrong)


@pytest.mark.parametrize("field", ["capacity", "lane_capacity", "max_in_flight"])
def test_what_keeps_memory_bounded_may_not_be_absent(field: str) -> None:
    """None is refused where it would mean without bound."""
    refused(TypeError, QueuePolicy, field, None)


@pytest.mark.parametrize(("policy", "field"), FLAGS)
def test_a_flag_is_true_or_false(policy: type[Any], field: str) -> None:
    """`"false"` from an environment variable is not taken for True."""
    for value in (True, False):
        assert getattr(policy(**{field: value}), field) is value
    for wrong in (0, 1, "false", "", None):
        refused(TypeError, policy, field, wrong)


def test_every_number_of_the_policies_is_checked() -> None:
    """No field slips through these tables."""
    checked = {(one.values[0], one.values[1]) for one in [*DURATIONS, *WHOLES, *FLAGS]}
    numbers = {
        (policy, name)
        for policy, defaults in DEFAULTS
        for name, value in defaults.items()
        if isinstance(value, int | float)
    }
    assert numbers <= checked


def test_a_share_is_at_most_one() -> None:
    """A breaker that opens at 110% of failures would never open."""
    assert BreakerPolicy(failure_ratio=1).failure_ratio == 1
    with pytest.raises(ValueError, match="failure_ratio must be at most 1"):
        BreakerPolicy(failure_ratio=1.0000001)


def test_a_cap_is_not_below_its_start() -> None:
    """`open_for` doubles up to `open_cap`, which may equal it."""
    assert BreakerPolicy(open_for=5, open_cap=5).open_cap == 5
    with pytest.raises(ValueError, match="open_cap must not be below open_for"):
        BreakerPolicy(open_for=5, open_cap=4.9)


@pytest.mark.parametrize("wrong", [None, 5, {}, BreakerPolicy])
def test_a_breaker_policy_is_one(wrong: Any) -> None:
    """A dict is not taken for one."""
    with pytest.raises(TypeError, match="breaker"):
        RetryPolicy(breaker=wrong)


@pytest.mark.parametrize("member", Overflow)
def test_an_overflow_is_the_enum_or_its_value(member: Overflow) -> None:
    """Both spellings, and nothing else."""
    assert QueuePolicy(overflow=member).overflow is member
    assert QueuePolicy(overflow=Overflow(str(member))).overflow is member
    for wrong in (member.name, "", None, 1):
        with pytest.raises(ValueError, match="overflow must be one of"):
            QueuePolicy(overflow=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("member", OrderIdField)
def test_an_order_id_field_is_the_enum_or_its_value(member: OrderIdField) -> None:
    """`"both"`, or one of the two names on the vendor's page in its spelling."""
    assert HttpPolicy(order_id_field=member).order_id_field is member
    for wrong in ("orderid", "ORDER_ID", "", None):
        with pytest.raises(ValueError, match="order_id_field must be one of"):
            HttpPolicy(order_id_field=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["http://proxy:3128", "https://me:secret@proxy.test/", None])
def test_a_proxy_is_an_absolute_url(url: str | None) -> None:
    """With a user and password if need be."""
    assert HttpPolicy(proxy=url).proxy == url


def test_headers_are_copied_and_hash_no_worse() -> None:
    """What was checked cannot be changed from outside; policies stay keys of a dictionary."""
    given = {"X-Key": "1"}
    policy = HttpPolicy(headers=given)
    given["X-Key"] = "1\r\nHost: elsewhere"
    assert policy.headers == {"X-Key": "1"}
    assert policy == HttpPolicy(headers={"X-Key": "1"}) != HttpPolicy()
    assert hash(policy) == hash(HttpPolicy(headers={"X-Key": "1"}))


@pytest.mark.parametrize("name", ["", "X Key", "X:Key", "X-Key\r\nHost", "Schl\u00fcssel", "\x00"])
def test_a_headers_name_is_a_token(name: str) -> None:
    """Nothing that ends a line, or begins another."""
    with pytest.raises(ValueError, match="number 2 has a name that no header can have") as told:
        HttpPolicy(headers={"X-Good": "1", name: "1"})
    assert not name or repr(name) not in str(told.value)


@pytest.mark.parametrize(
    "value", ["s3cret\r\nHost: x", "s3cret\n", "s3cret\0", " s3cret", "s3cret\t", "s3cret\u00e9"]
)
def test_a_headers_value_is_printable_and_never_quoted(value: str) -> None:
    """It may be a gateway's key."""
    with pytest.raises(ValueError, match="the value of X-Key must be printable") as caught:
        HttpPolicy(headers={"X-Key": value})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Host", "content-type", "CONTENT-LENGTH", "Transfer-Encoding", "Proxy-Authorization"]
)
def test_a_header_of_ours_is_not_overridden(name: str) -> None:
    """In no spelling."""
    with pytest.raises(ValueError, match=f"must not set {name}"):
        HttpPolicy(headers={name: "1"})


def test_a_header_stands_once() -> None:
    """Servers differ in which of two they read."""
    with pytest.raises(ValueError, match="has x-key twice"):
        HttpPolicy(headers={"X-Key": "1", "x-key": "2"})


@pytest.mark.parametrize("wrong", [["X-Key"], "X-Key: 1", {"X-Key": 1}, {b"X-Key": "1"}, None])
def test_headers_are_a_mapping_of_texts(wrong: Any) -> None:
    """Anything else is a mistake that says so."""
    with pytest.raises(TypeError, match=r"HttpPolicy.headers must map str to str"):
        HttpPolicy(headers=wrong)


def test_a_headers_value_is_never_shown() -> None:
    """Policies are logged."""
    assert "headers={'X-Key': '***'}" in repr(HttpPolicy(headers={"X-Key": "s3cret"}))


@pytest.mark.parametrize(
    "wrong", ["", "proxy", "me:secret@proxy:3128", "socks5://p", "http://", "http://secret:x/"]
)
def test_a_proxy_that_cannot_work_is_refused(wrong: str) -> None:
    """Else every event would wait for its delivery timeout; and a password is not quoted."""
    with pytest.raises(ValueError, match=r"HttpPolicy.proxy must be an absolute") as caught:
        HttpPolicy(proxy=wrong)
    assert "secret" not in str(caught.value)


def test_a_connector_is_one_or_makes_one() -> None:
    """As is, for an aiohttp connector must be made on a running loop."""
    assert HttpPolicy(connector=aiohttp.TCPConnector).connector is aiohttp.TCPConnector


@pytest.mark.parametrize(
    ("field", "wrong"), [("proxy", 1), ("ssl", False), ("ssl", "ca.pem"), ("connector", 3)]
)
def test_what_is_plugged_into_http_is_of_its_kind(field: str, wrong: Any) -> None:
    """`ssl=False`, aiohttp's way to trust everybody, is refused, not ignored."""
    refused(TypeError, HttpPolicy, field, wrong)


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (lambda given: QueuePolicy(overflow=given), "QueuePolicy.overflow", Overflow),
        (lambda given: HttpPolicy(order_id_field=given), "HttpPolicy.order_id_field", OrderIdField),
        (lambda given: AlhenaClient("shop", coalescing=given), "coalescing", Coalescing),
        (lambda given: AlhenaClient("shop", region=given), "region", Region),
    ],
)
def test_a_wrong_choice_is_answered_with_the_right_ones(
    make: Callable[[Any], object], name: str, kind: type[Any]
) -> None:
    """The docs write the members' names, `OFF`: what is given is the value, in small letters."""
    with pytest.raises(ValueError, match=f"{name} must be one of .*, not 'OFF'") as caught:
        make("OFF")
    assert all(one.value in str(caught.value) for one in kind)


def test_the_choices_are_the_promised_ones() -> None:
    """Names and values of every enum that a user writes down."""
    assert [one.value for one in Coalescing] == ["off", "duplicates", "latest", "net"]
    assert [one.value for one in Overflow] == ["reject", "drop", "shed"]
    assert [one.value for one in OrderIdField] == ["both", "orderId", "order_id"]
    assert [one.value for one in Region] == ["us", "eu"]


# --- where requests go --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "url"),
    [
        (Region.US, "https://app.alhena.ai/"),
        (Region.EU, "https://eu.alhena.ai/"),
        ("us", "https://app.alhena.ai/"),
        ("eu", "https://eu.alhena.ai/"),
    ],
)
def test_a_region_is_a_documented_host(region: Region | str, url: str) -> None:
    """The two hosts of the vendor's page, byte for byte."""
    assert resolve_base_url(region, None, allow_insecure=False) == url
    assert Region(region).base_url == url


@pytest.mark.parametrize("region", ["US", "uk", "", None, 1, [], "us "])
def test_an_unknown_region_is_refused(region: Any) -> None:
    """Data must not go to a wrong continent by a typing error, base URL or not."""
    for base_url in (None, "https://example.com/"):
        with pytest.raises(ValueError, match="region must be one of us, eu"):
            resolve_base_url(region, base_url, allow_insecure=False)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com/", "https://example.com/"),
        ("https://example.com:8443/alhena", "https://example.com:8443/alhena/"),
        ("HTTPS://Example.COM/", "HTTPS://Example.COM/"),
        ("http://localhost:8787", "http://localhost:8787/"),
        ("http://LOCALHOST", "http://LOCALHOST/"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/"),
        ("http://127.8.9.10/", "http://127.8.9.10/"),
        ("http://[::1]:8787/", "http://[::1]:8787/"),
    ],
)
def test_a_base_url_ends_in_a_slash(given: str, url: str) -> None:
    """Https anywhere, plain http on loopback; paths hang below it."""
    assert resolve_base_url("us", given, allow_insecure=False) == url


@pytest.mark.parametrize(
    "given",
    [
        "http://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0:8787",
        "http://10.0.0.1",
        "http://[::]",
        "http://2130706433",
        "http://localhost.",
        "HTTP://EXAMPLE.COM",
        "http://emulator:8787",
    ],
)
def test_plain_http_leaves_the_machine_only_when_allowed(given: str) -> None:
    """Hosts that look like loopback are not; the message names the way out."""
    with pytest.raises(ValueError, match="allow_insecure=True"):
        resolve_base_url("us", given, allow_insecure=False)
    assert resolve_base_url("us", given, allow_insecure=True) == given + "/"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "/",
        "example.com",
        "example.com:443",
        "//example.com",
        "https:",
        "https://",
        "https:///path",
        "https://:443",
        "ftp://example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://example.com:port",
        "https://example.com:65536",
        "https://[::1",
        "https://user@example.com",
        "https://user:password@example.com",
        "https://@example.com",
        "http://localhost\\@example.com",
        "https://example.com/?",
        "https://example.com?",
        "https://example.com/?company=x",
        "https://example.com#",
        "https://example.com/#top",
        "https://example.com/\n",
        "https://example.com ",
        " https://example.com",
        "https://example.com/a b",
        "https://exa\tmple.com",
        "http://127.0.0.1\r.example.com",
        "https://example.com/\x00",
        "https://example.com/\u2028",
        b"https://example.com",
        5,
        ["https://example.com"],
    ],
    ids=ascii,
)
@pytest.mark.parametrize("allow_insecure", [False, True])
def test_a_base_url_that_would_lead_astray_is_refused(given: Any, allow_insecure: bool) -> None:
    """At construction, not at the first request; and a password in it is not quoted."""
    with pytest.raises(ValueError, match="base_url must ") as caught:
        resolve_base_url("us", given, allow_insecure=allow_insecure)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://me:secret@proxy.example:3128/", "http://***@proxy.example:3128/"),
        ("https://secret@proxy.example", "https://***@proxy.example"),
        ("http://me:sec%40ret@proxy.example", "http://***@proxy.example"),
        ("http://me:secret@secret@proxy.example", "http://***@proxy.example"),
    ],
)
def test_a_proxys_password_is_never_shown(proxy: str, shown: str) -> None:
    """Policies are logged."""
    policy = HttpPolicy(proxy=proxy)
    assert policy.proxy == proxy
    assert f"proxy='{shown}'" in repr(policy)
    assert "secret" not in repr(policy)
    assert "proxy=None" in repr(HttpPolicy())


@pytest.mark.parametrize("linger", [-1.0, float("inf"), float("nan")])
def test_a_linger_is_finite_or_nothing(linger: float) -> None:
    """None leaves it to who reads the policy: a client lingers, a publisher does not."""
    assert QueuePolicy(linger=0.0).linger == 0.0
    with pytest.raises(ValueError, match="linger"):
        QueuePolicy(linger=linger)
