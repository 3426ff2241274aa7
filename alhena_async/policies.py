"""How a client behaves: where it sends, how much it holds, when it gives up.

All policies are frozen and keyword-only. Durations are seconds, sizes are bytes unless a field
says otherwise. A value that cannot work is refused at construction with a `ValueError`.
"""

from __future__ import annotations

import enum
import inspect
import ipaddress
import re
import ssl as ssl_module
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

import attrs
from attrs import validators

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "BreakerPolicy",
    "Coalescing",
    "HttpPolicy",
    "OrderIdField",
    "Overflow",
    "QueuePolicy",
    "Region",
    "RetryPolicy",
]


class Region(enum.StrEnum):
    """Where an organisation's data lives; its Alhena dashboard says which."""

    US = "us"
    EU = "eu"

    @property
    def base_url(self) -> str:
        """The host that the vendor's page names for this region."""
        return _BASE_URLS[self]


_BASE_URLS: Final = {Region.US: "https://app.alhena.ai/", Region.EU: "https://eu.alhena.ai/"}


RegionName = Literal["us", "eu"]


class Coalescing(enum.StrEnum):
    """Which waiting events of one visitor fold into one. See `docs/coalescing.md`."""

    OFF = "off"
    """Nothing folds."""
    DUPLICATES = "duplicates"
    """An event equal to the one before it. Changes no sum of the dashboard."""
    LATEST = "latest"
    """Also neighbours of the same type: the later one stands for both."""
    NET = "net"
    """Also the net effect: added and removed again is nothing."""


CoalescingName = Literal["off", "duplicates", "latest", "net"]


class Overflow(enum.StrEnum):
    """What `track_nowait` does when there is no room."""

    REJECT = "reject"
    """Raise `QueueFullError`."""
    DROP = "drop"
    """Never raise: the new event's receipt settles as `DROPPED`."""
    SHED = "shed"
    """Drop the oldest waiting cart event, never a checkout; with none to drop, reject."""


OverflowName = Literal["reject", "drop", "shed"]


class OrderIdField(enum.StrEnum):
    """Under which name a checkout's order id travels: the vendor's page shows two."""

    BOTH = "both"
    CAMEL = "orderId"
    SNAKE = "order_id"


OrderIdFieldName = Literal["both", "orderId", "order_id"]

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


def choice_of(kind: type[_Choice], given: _Choice | str, name: str) -> _Choice:
    """Return the member that was given, itself or by its value.

    Raises:
        ValueError: There is none; the message has the setting's name and the values that it takes.
    """
    try:
        return kind(given)
    except ValueError:
        raise ValueError(f"{name} must be one of {', '.join(kind)}, not {given!r}") from None


def check_plain(name: str, function: object) -> None:
    """Refuse a coroutine function where a plain one is called: nobody would await its coroutine.

    Raises:
        TypeError: It is one; the message has the name.
    """
    for call in (function, getattr(type(function), "__call__", None)):  # noqa: B004  not to ask whether it can be called
        if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
            raise TypeError(
                f"{name} must be a plain function, not a coroutine function (async def): it is "
                "called in the middle of things, and what it returns is not awaited"
            )


def _overflow(given: Overflow | OverflowName) -> Overflow:
    return choice_of(Overflow, given, "QueuePolicy.overflow")


def _order_id_field(given: OrderIdField | OrderIdFieldName) -> OrderIdField:
    return choice_of(OrderIdField, given, "HttpPolicy.order_id_field")


def finite(minimum: float, *, inclusive: bool) -> Any:
    """Return a validator of numbers."""

    def check(owner: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        name = _name_of(owner, attribute)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}")
        low_enough = value >= minimum if inclusive else value > minimum
        if not low_enough or value > sys.float_info.max:  # an int may be too big for a clock
            bound = "at least" if inclusive else "more than"
            raise ValueError(f"{name} must be {bound} {minimum:g} and finite, not {value!r}")

    return check


def whole(minimum: int, *, optional: bool = False) -> Any:
    """Return a validator of whole numbers."""

    def check(owner: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        name = _name_of(owner, attribute)
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, not {value}")

    return check


_positive = finite(0, inclusive=False)
_not_negative = finite(0, inclusive=True)


def _name_of(owner: object, attribute: attrs.Attribute[Any]) -> str:
    """What a user calls it: private classes say whose arguments their fields are."""
    return f"{getattr(owner, 'ARGUMENTS_OF', type(owner).__name__)}.{attribute.name}"


def _flag(owner: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        name = _name_of(owner, attribute)
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def _share(owner: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _not_negative(owner, attribute, value)
    if value >= 1:
        name = f"{type(owner).__name__}.{attribute.name}"
        raise ValueError(f"{name} must be a share below 1, not {value!r}")


@attrs.frozen(kw_only=True)
class QueuePolicy:
    """How many events wait, for how long, and how many requests run at once.

    Args:
        capacity: Events in memory at most, queued and in flight together; with a journal, what
            comes beyond that goes to disk alone, up to its own bounds. Default 10,000. Keep
            `flush_at` below it: otherwise events that linger may fill the room and turn others away
            while the API has nothing to do.
        lane_capacity: Events of one visitor that wait at most, in memory and on disk together, so
            that nobody takes the room of all others. Beyond it, that visitor's own events give way
            by `overflow`, and `track` waits. Default 300, which take 15 s at 50 ms for a request:
            they go out one after the other.
        checkout_reserve: The share of the room, 0 to below 1, that is kept free for checkouts,
            rounded down to whole events. Default 0.05.
        capacity_bytes: Bytes of memory that the events held may take, by an estimate. One that is
            larger than `capacity_bytes / capacity` takes the room of several. Default None: 10,000
            for each of `capacity`, which is more than nearly any cart event takes.
        linger: Seconds that a visitor's first waiting cart event waits for others to fold with.
            Default None: 0.5 for a client, 0 for a `relay.Publisher`, behind which another process
            may publish the same visitor's next event.
        flush_at: Once this many events wait, none lingers any longer. Default 1,000; None: no such
            limit.
        max_in_flight: Requests on the wire at once, at most. Default 32.
        overflow: What `track_nowait` does without room, in memory and on a journal's disk; an
            `Overflow` or its value. Default `Overflow.REJECT`.
        max_rate: Requests a second to the API at most, evenly spread; repeated ones count. What
            waits for it keeps its delivery timeout. With an `outbox`, half of it for each. Default
            None: as many as `max_in_flight` and the API's answers allow.
        track_timeout: Seconds that `await track` waits for room and disk where its call names no
            `timeout`. Default None: as long as it takes, and 0.5 from the web frameworks'
            integrations.
    """

    capacity: int = attrs.field(default=10_000, validator=whole(1))
    lane_capacity: int = attrs.field(default=300, validator=whole(1))
    checkout_reserve: float = attrs.field(default=0.05, validator=_share)
    capacity_bytes: int | None = attrs.field(default=None, validator=whole(1, optional=True))
    linger: float | None = attrs.field(default=None, validator=validators.optional(_not_negative))
    flush_at: int | None = attrs.field(default=1_000, validator=whole(1, optional=True))
    max_in_flight: int = attrs.field(default=32, validator=whole(1))
    overflow: Overflow = attrs.field(default=Overflow.REJECT, converter=_overflow)
    max_rate: float | None = attrs.field(default=None, validator=validators.optional(_positive))
    track_timeout: float | None = attrs.field(
        default=None, validator=validators.optional(_not_negative)
    )


@attrs.frozen(kw_only=True)
class BreakerPolicy:
    """When an endpoint counts as down, so that an outage never becomes a storm of retries.

    A share of failing requests is no outage: the others are worth sending.

    Args:
        failure_ratio: The share of failures (0 to 1) beyond which they add up: each failure counts
            one, and a success makes up for `failure_ratio / (1 - failure_ratio)` of them. Default
            1: a success makes up for all.
        min_calls: Opens at so many failures; with a `failure_ratio` of 1, at so many in a row. The
            fewer, the sooner bad luck looks like an outage: where nine of ten requests fail, 150 in
            a row come once in 70 million requests, and 50 once in 1,900. Default 150.
        open_for: Seconds before the first probe; doubles with each probe that fails. Default 0.1.
        open_cap: Seconds at most between two probes, so at most until the end of an outage is
            noticed. Default 5.
    """

    failure_ratio: float = attrs.field(default=1.0, validator=_positive)
    min_calls: int = attrs.field(default=150, validator=whole(1))
    open_for: float = attrs.field(default=0.1, validator=_positive)
    open_cap: float = attrs.field(default=5.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.failure_ratio > 1:
            raise ValueError("BreakerPolicy.failure_ratio must be at most 1")
        if self.open_cap < self.open_for:
            raise ValueError("BreakerPolicy.open_cap must not be below open_for")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """What is tried again, how soon, and when an event is given up.

    Args:
        base: Seconds: the bound of the first delay, doubled for each further one; full jitter
            below. Default 0.25.
        throttle_base: Seconds: the same after a 429 or a 503. Default 1.
        cap: Seconds: no delay's bound grows past it. Default 30.
        retry_after_cap: Seconds: a `Retry-After` above it counts as this. Default 300.
        max_attempts: Attempts of one event at most. Default None: as many as its delivery timeout
            allows.
        cart_delivery_timeout: Seconds from acceptance to `EXPIRED`: the API has no timestamp, so
            late is wrong. Default 900.
        checkout_delivery_timeout: Seconds from acceptance to `EXPIRED`. Default 86,400: the
            vendor's attribution window of 24 hours.
        precondition_retries: Retries after a `PREVIOUS_*` code: another process may still hold the
            earlier event. Default 1.
        precondition_delay: Seconds before such a retry. Default 2.
        retry_ambiguous_carts: Repeat a cart event that may have been recorded: its quantity is a
            state, not a change. Default True.
        assign_order_ids: Give a checkout without an order id one of ours, which makes its retries
            safe. Default True.
        breaker: The breaker of each endpoint. Default `BreakerPolicy()`.
    """

    base: float = attrs.field(default=0.25, validator=_positive)
    throttle_base: float = attrs.field(default=1.0, validator=_positive)
    cap: float = attrs.field(default=30.0, validator=_positive)
    retry_after_cap: float = attrs.field(default=300.0, validator=_positive)
    max_attempts: int | None = attrs.field(default=None, validator=whole(1, optional=True))
    cart_delivery_timeout: float = attrs.field(default=900.0, validator=_positive)
    checkout_delivery_timeout: float = attrs.field(default=86_400.0, validator=_positive)
    precondition_retries: int = attrs.field(default=1, validator=whole(0))
    precondition_delay: float = attrs.field(default=2.0, validator=_not_negative)
    retry_ambiguous_carts: bool = attrs.field(default=True, validator=_flag)
    assign_order_ids: bool = attrs.field(default=True, validator=_flag)
    breaker: BreakerPolicy = attrs.field(
        factory=BreakerPolicy, validator=validators.instance_of(BreakerPolicy)
    )


PROXY_FROM_ENVIRONMENT: Final = "env"


def _without_password(url: str | None) -> str:
    """Return a URL's repr with who logs in there masked: what stands before the host."""
    return repr(url and re.sub(r"(?<=//).*@", "***@", url))


def _proxy(_owner: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"HttpPolicy.proxy must be a str, not {type(value).__name__}")
    if value != PROXY_FROM_ENVIRONMENT:
        check_proxy("HttpPolicy.proxy", value)


def check_proxy(name: str, url: str) -> None:
    """Refuse what is no URL of a proxy.

    Raises:
        ValueError: It is none; the message has the name, and not the URL: it may hold a password.
    """
    if _absolute(url) is None:
        raise ValueError(f"{name} must be an absolute http or https URL")


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, by RFC 9110."""

_OUR_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "content-type", "user-agent"),  # what is asked and sent
        *("content-encoding", "content-length", "transfer-encoding", "trailer"),  # its framing
        *("connection", "expect", "host", "keep-alive", "te", "upgrade"),  # the connection
        *("proxy-authorization", "proxy-connection"),  # in `proxy`, which keeps it from the API
    }
)
"""Set by us, or by what carries a request: another's word on them would break it."""


def _headers(_owner: object, _attribute: attrs.Attribute[Any], given: Any) -> None:
    seen: set[str] = set()
    for place, (name, value) in enumerate(given.items(), 1):
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("HttpPolicy.headers must map str to str")
        if not _TOKEN.fullmatch(name):
            # Not quoted: of "Authorization: Bearer x=", read as a name and a value, it has the key.
            raise ValueError(
                f"HttpPolicy.headers: number {place} has a name that no header can have "
                "(letters, digits and - alone; no colon, no space)"
            )
        if name.lower() in _OUR_HEADERS:
            raise ValueError(f"HttpPolicy.headers must not set {name}: the client or HTTP does")
        if name.lower() in seen:
            raise ValueError(f"HttpPolicy.headers has {name} twice")
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            # Not quoted: it may be a key.
            raise ValueError(
                f"HttpPolicy.headers: the value of {name} must be printable ASCII without spaces "
                "around it"
            )
        seen.add(name.lower())


def _copied(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise TypeError(f"HttpPolicy.headers must map str to str, not be {type(given).__name__}")
    return dict(given)


def _names_alone(headers: Mapping[str, str]) -> str:
    """Return the repr of headers without their values: a gateway's key is one."""
    return repr(dict.fromkeys(headers, "***"))


def _ssl_context(_owner: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, ssl_module.SSLContext):
        raise TypeError(f"HttpPolicy.ssl must be an SSLContext, not {type(value).__name__}")


def _connector(_owner: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    # No import of aiohttp for the sake of a check: its connectors are what has a `connect`.
    if value is not None and not callable(value) and not hasattr(value, "connect"):
        name = type(value).__name__
        raise TypeError(f"HttpPolicy.connector must be a connector or make one, not {name}")


@attrs.frozen(kw_only=True)
class HttpPolicy:
    """How a request travels.

    Args:
        connect_timeout: Seconds for TCP and TLS together. Default 3.
        request_timeout: Seconds for a whole attempt, connecting included. Default 10.
        order_id_field: The name an order id is sent under; an `OrderIdField` or its value. Default
            `OrderIdField.BOTH`.
        max_reply_bytes: Bytes of a reply's body that are read at most. Default 65,536.
        allow_insecure: Permit plain http to a host that is not loopback. Default False.
        proxy: URL of an HTTP proxy, or `"env"`: the one that the environment names for the API's
            host (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), as found when the client is made; see
            `docs/settings.md`. Default None: a direct connection.
        headers: Sent with each request beside our own, for a gateway on the way; values are
            printable ASCII, and not shown by `repr`. What we or HTTP set (`Content-Type`, `Host`,
            `User-Agent`, ...) is refused. Default `dict()`: none.
        ssl: A context of your own, for a private CA. Default None: the usual verification.
        connector: An aiohttp connector (then yours to close), or a function that makes one (closed
            by us). Default None: one of our own.
    """

    connect_timeout: float = attrs.field(default=3.0, validator=_positive)
    request_timeout: float = attrs.field(default=10.0, validator=_positive)
    order_id_field: OrderIdField = attrs.field(default=OrderIdField.BOTH, converter=_order_id_field)
    max_reply_bytes: int = attrs.field(default=65_536, validator=whole(1))
    allow_insecure: bool = attrs.field(default=False, validator=_flag)
    proxy: str | None = attrs.field(default=None, validator=_proxy, repr=_without_password)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=_copied, validator=_headers, repr=_names_alone, hash=False
    )
    ssl: ssl_module.SSLContext | None = attrs.field(default=None, validator=_ssl_context)
    connector: Callable[[], aiohttp.BaseConnector] | aiohttp.BaseConnector | None = attrs.field(
        default=None, validator=_connector
    )


_LOOPBACK_NAMES: Final = frozenset({"localhost"})


def resolve_base_url(region: Region | str, base_url: str | None, *, allow_insecure: bool) -> str:
    """Return the URL that requests go below, with a slash at its end.

    Args:
        region: A `Region` or its value; decides unless `base_url` does.
        base_url: An absolute http or https URL without user, query or fragment, or None.
        allow_insecure: Permit plain http to a host that is not loopback.

    Raises:
        ValueError: The region is unknown, or the URL breaks one of these rules.
    """
    region = choice_of(Region, region, "region")
    if base_url is None:
        return region.base_url
    parts = _split(base_url)
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "base_url is plain http and its host is not loopback: use https, "
            "or HttpPolicy(allow_insecure=True) (--allow-insecure) if you must"
        )
    return with_slash(base_url)


def with_slash(base_url: str) -> str:
    """Return a base URL as it is compared and sent to: with a slash at its end."""
    return base_url if base_url.endswith("/") else base_url + "/"


def _absolute(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number from 0 to 65535
    except (ValueError, TypeError, AttributeError):
        return None
    return parts if parts.scheme in {"http", "https"} and parts.hostname else None


def _split(base_url: str) -> SplitResult:
    parts = _absolute(base_url)
    if parts is None:
        raise ValueError("base_url must be an absolute http or https URL")
    if parts.username is not None or "?" in base_url or "#" in base_url:
        raise ValueError("base_url must hold no user, query or fragment")
    if not base_url.isprintable() or " " in base_url:  # urlsplit skips some: a file's last newline
        raise ValueError("base_url must hold no space or control character")
    return parts


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
