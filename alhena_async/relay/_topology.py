"""What stands on a JetStream server: one work-queue stream, its consumers, a stream of letters.

`alhena relay init` makes it, everybody else reads it, so that no two processes can differ in it.
Pure: configurations and requests as the server's API has them, as plain JSON values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from attrs import validators

from alhena_async.policies import Region, resolve_base_url

__all__ = [
    "Difference",
    "Plan",
    "Request",
    "Topology",
    "TopologyError",
    "checked_prefix",
    "consumer_request",
    "letters_name",
    "plan",
    "read",
    "stream_name",
]

_VERSION: Final = "1"

_DUPLICATE_WINDOW: Final = 600.0

_LETTERS_AGE: Final = 30 * 86_400.0

_LETTERS_BYTES: Final = 256 * 1024 * 1024

MAX_PARTITIONS: Final = 1_024

MAX_LEASE: Final = 3_600.0


class TopologyError(Exception):
    """A stream is missing, not ours, or of a newer version; the text says what to do."""


def checked_prefix(prefix: object) -> str:
    """Return a prefix that names streams and subjects.

    Raises:
        ValueError: It is no word of lower-case letters, digits, `-` and `_`.
    """
    if not isinstance(prefix, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", prefix):
        raise ValueError(
            "prefix must be 1 to 32 lower-case letters, digits, - or _, and begin with a letter"
        )
    return prefix


def stream_name(prefix: str) -> str:
    """Return the name of the stream of events."""
    return prefix.upper()


def letters_name(prefix: str) -> str:
    """Return the name of the stream of letters."""
    return f"{prefix.upper()}-LETTERS"


def _within(low: float, high: float) -> Any:
    return validators.and_(validators.ge(low), validators.le(high))


@attrs.frozen(kw_only=True)
class Topology:
    """What all processes have in common.

    Args:
        prefix: Names streams and subjects. Default "alhena".
        partitions: How many parts the stream has, each with one event out at a time. 1 to 1,024.
            Default 64.
        lease: Seconds until an event that was handed out and not acknowledged comes again. 1 to
            3,600. Default 60.
        destination: The API's base URL that relays send to.
        replicas: Servers that keep each message: 1 to 5. Default 1.
        max_bytes: Bytes that may wait. Default 1 GiB.
    """

    prefix: str = attrs.field(default="alhena", converter=checked_prefix)
    partitions: int = attrs.field(default=64, validator=_within(1, MAX_PARTITIONS))
    lease: float = attrs.field(default=60.0, validator=_within(1, MAX_LEASE))
    destination: str = Region.US.base_url
    replicas: int = attrs.field(default=1, validator=_within(1, 5))
    max_bytes: int = attrs.field(default=1 << 30, validator=validators.ge(1 << 20))

    @property
    def stream(self) -> str:
        """The name of the stream of events."""
        return stream_name(self.prefix)

    @property
    def letters_subject(self) -> str:
        """Where letters are published."""
        return f"{self.prefix}.letters"

    def partition_of(self, lane: int) -> int:
        """Return which part of the stream a lane is in."""
        return lane % self.partitions

    def subject_of(self, partition: int) -> str:
        """Return where the events of a partition are published.

        The number of partitions is part of it: who has an old one publishes nowhere, and learns.
        """
        return f"{self.prefix}.events.{self.partitions}.{partition}"

    def consumer_of(self, partition: int) -> str:
        """Return the name of a partition's consumer."""
        return f"relay-{self.partitions}-{partition}"

    def metadata(self) -> dict[str, str]:
        """Return what the stream says of itself."""
        return {
            "alhena.version": _VERSION,
            "alhena.partitions": str(self.partitions),
            "alhena.lease": f"{self.lease:g}",
            "alhena.destination": self.destination,
        }


@attrs.frozen
class Request:
    """A request to the server's API: below `$JS.API.`, with a JSON payload."""

    subject: str
    payload: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Difference:
    """What is not as it is wanted."""

    what: str
    """`partitions`, `replicas`, `max_bytes`, `lease` or `destination`."""
    found: str | int | float
    wanted: str | int | float


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done, so that a topology stands as it is wanted."""

    created: tuple[str, ...]
    """The streams that are missing."""
    differences: tuple[Difference, ...]
    requests: tuple[Request, ...]
    """Make what is missing, consumers included. Nothing that is there is changed."""
    changes: tuple[Request, ...]
    """Bring what differs to what is wanted; for who said so."""


def read(prefix: str, config: Mapping[str, Any]) -> Topology:
    """Return the topology that a stream's configuration says.

    Raises:
        TopologyError: It is not ours, or of a newer version.
    """
    name = stream_name(prefix)
    said = config.get("metadata") or {}
    version = said.get("alhena.version")
    if version is None:
        raise TopologyError(f"the stream {name} is not ours: another prefix, or delete it")
    if version != _VERSION:
        raise TopologyError(f"the stream {name} was made by a newer version: update alhena-async")
    try:
        return Topology(
            prefix=prefix,
            partitions=int(said["alhena.partitions"]),
            lease=_finite(said["alhena.lease"]),
            destination=resolve_base_url(
                Region.US, said["alhena.destination"], allow_insecure=True
            ),
            replicas=int(config["num_replicas"]),
            max_bytes=int(config["max_bytes"]),
        )
    except (KeyError, ValueError, TypeError):
        raise TopologyError(
            f"the stream {name} does not say what it must: run alhena relay init --apply"
        ) from None


def missing(prefix: str) -> TopologyError:
    """Return the error of a stream that is not there."""
    return TopologyError(f"there is no stream {stream_name(prefix)}: run alhena relay init")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


_COMPARED: Final = ("partitions", "replicas", "max_bytes", "lease", "destination")


def plan(wanted: Topology, found: Topology | None, *, has_letters: bool) -> Plan:
    """Return what `alhena relay init` has to do.

    Args:
        wanted: The topology that is to stand.
        found: The one that stands; None if there is no stream.
        has_letters: Whether the stream of letters stands.
    """
    requests: list[Request] = []
    created: list[str] = []
    if found is None:
        created.append(wanted.stream)
        requests.append(_stream_request("CREATE", _stream_config(wanted)))
    standing = found or wanted
    if not has_letters:
        letters = _letters_config(standing)
        created.append(letters["name"])
        requests.append(_stream_request("CREATE", letters))
    requests += consumer_requests(standing)
    differences = _differences(wanted, found) if found is not None else ()
    return Plan(
        created=tuple(created),
        differences=differences,
        requests=tuple(requests),
        changes=_changes(wanted, found) if differences and found is not None else (),
    )


def _differences(wanted: Topology, found: Topology) -> tuple[Difference, ...]:
    pairs = ((what, getattr(found, what), getattr(wanted, what)) for what in _COMPARED)
    return tuple(
        Difference(what=what, found=is_, wanted=want) for what, is_, want in pairs if is_ != want
    )


def _changes(wanted: Topology, found: Topology) -> tuple[Request, ...]:
    """Change the stream, its consumers with it; to other partitions only while nothing waits."""
    old: Sequence[Request] = ()
    if wanted.partitions != found.partitions:  # a work queue's consumers may not overlap
        old = [
            Request(f"CONSUMER.DELETE.{found.stream}.{found.consumer_of(number)}", {})
            for number in range(found.partitions)
        ]
    stream = _stream_request("UPDATE", _stream_config(wanted))
    letters = _stream_request("UPDATE", _letters_config(wanted))
    return (*old, stream, letters, *consumer_requests(wanted))


def consumer_requests(topology: Topology) -> list[Request]:
    """Return what makes every partition's consumer; of one that stands, nothing changes."""
    return [consumer_request(topology, number) for number in range(topology.partitions)]


def consumer_request(topology: Topology, partition: int) -> Request:
    """Return what makes a partition's consumer.

    One message out at a time: the only arrangement in which a redelivery cannot be overtaken. Its
    state is in memory: what was acknowledged is out of the stream, so nothing else needs be known.
    """
    name = topology.consumer_of(partition)
    subject = topology.subject_of(partition)
    config = {
        "name": name,
        "durable_name": name,
        "filter_subject": subject,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": _nanoseconds(topology.lease),
        "max_deliver": -1,
        "max_ack_pending": 1,
        "mem_storage": True,
        "num_replicas": topology.replicas,  # a work queue's consumers must have the stream's
    }
    return Request(
        f"CONSUMER.CREATE.{topology.stream}.{name}.{subject}",
        {"stream_name": topology.stream, "config": config},
    )


def _stream_request(verb: str, config: Mapping[str, Any]) -> Request:
    return Request(f"STREAM.{verb}.{config['name']}", config)


def _stream_config(topology: Topology) -> dict[str, Any]:
    return {
        "name": topology.stream,
        "subjects": [f"{topology.prefix}.events.{topology.partitions}.*"],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "num_replicas": topology.replicas,
        "max_bytes": topology.max_bytes,
        "max_msgs": -1,
        "max_age": 0,
        "duplicate_window": _nanoseconds(_DUPLICATE_WINDOW),
        "metadata": topology.metadata(),
    }


def _letters_config(topology: Topology) -> dict[str, Any]:
    return {
        "name": letters_name(topology.prefix),
        "subjects": [topology.letters_subject],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": topology.replicas,
        "max_bytes": _LETTERS_BYTES,
        "max_msgs": -1,
        "max_age": _nanoseconds(_LETTERS_AGE),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
