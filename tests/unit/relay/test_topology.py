"""What stands on a server: names, configurations, and what `init` finds to do. Pure."""

from typing import Any

import attrs
import pytest

from alhena_async.relay import JetStream
from alhena_async.relay._topology import (
    Topology,
    TopologyError,
    checked_prefix,
    plan,
    read,
)

EU = "https://eu.alhena.ai/"


def config(topology: Topology) -> dict[str, Any]:
    """What a server says of the stream that was made."""
    request = plan(topology, None, has_letters=True).requests[0]
    assert request.subject == f"STREAM.CREATE.{topology.stream}"
    return dict(request.payload)


@pytest.mark.parametrize(
    "topology", [Topology(), Topology(prefix="eu", partitions=7, lease=2.5, destination=EU)]
)
def test_what_is_made_is_read(topology: Topology) -> None:
    """Everybody reads what `init` wrote, so that no two processes differ."""
    assert read(topology.prefix, config(topology)) == topology


def test_the_stream_is_a_work_queue_with_a_bound() -> None:
    """Nothing is lost for want of room, and a repeated id is known for ten minutes."""
    made = config(Topology(replicas=3))
    assert made["name"] == "ALHENA"
    assert made["subjects"] == ["alhena.events.64.*"]
    assert (made["retention"], made["storage"], made["discard"]) == ("workqueue", "file", "new")
    assert (made["num_replicas"], made["max_bytes"]) == (3, 1 << 30)
    assert made["duplicate_window"] == 600 * 10**9


def test_each_partition_has_one_event_out() -> None:
    """The only arrangement in which a redelivery cannot be overtaken."""
    requests = plan(Topology(partitions=3, lease=2.0), None, has_letters=True).requests[1:]
    assert [one.subject for one in requests] == [
        f"CONSUMER.CREATE.ALHENA.relay-3-{number}.alhena.events.3.{number}" for number in range(3)
    ]
    for one in requests:
        made = one.payload["config"]
        assert (made["max_ack_pending"], made["max_deliver"]) == (1, -1)
        assert (made["ack_policy"], made["ack_wait"]) == ("explicit", 2 * 10**9)
        assert made["mem_storage"] is True


@pytest.mark.parametrize("has_stream", [True, False])
@pytest.mark.parametrize("has_letters", [True, False])
def test_what_is_missing_is_made(has_stream: bool, has_letters: bool) -> None:
    """And said; consumers are made anew each time, as a server forgets them."""
    found = Topology() if has_stream else None
    made = plan(Topology(), found, has_letters=has_letters)
    wanted = [name for name, has in (("ALHENA", has_stream), ("ALHENA-LETTERS", has_letters))
              if not has]  # fmt: skip
    assert list(made.created) == wanted
    assert len(made.requests) == len(wanted) + 64
    assert not made.differences
    assert not made.changes


@pytest.mark.parametrize(
    ("what", "value"),
    [("partitions", 8), ("replicas", 3), ("max_bytes", 1 << 21), ("lease", 5.0),
     ("destination", EU)],
)  # fmt: skip
def test_what_differs_is_said_and_left_alone(what: str, value: Any) -> None:
    """Unless it is asked for."""
    wanted = attrs.evolve(Topology(), **{what: value})
    made = plan(wanted, Topology(), has_letters=True)
    [difference] = made.differences
    assert (difference.what, difference.wanted) == (what, value)
    assert not any("STREAM" in one.subject for one in made.requests)
    assert any(one.subject == "STREAM.UPDATE.ALHENA" for one in made.changes)
    deleted = [one for one in made.changes if "DELETE" in one.subject]
    assert len(deleted) == (64 if what == "partitions" else 0)


@pytest.mark.parametrize(
    ("metadata", "cure"),
    [
        (None, "not ours"),
        ({}, "not ours"),
        ({"alhena.version": "2"}, "update alhena-async"),
        ({"alhena.version": "1"}, "relay init"),
        ({**Topology().metadata(), "alhena.partitions": "0"}, "relay init"),
        ({**Topology().metadata(), "alhena.partitions": "many"}, "relay init"),
        ({**Topology().metadata(), "alhena.lease": "nan"}, "relay init"),
        ({**Topology().metadata(), "alhena.destination": "nowhere"}, "relay init"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(metadata: Any, cure: str) -> None:
    """Not ours, of a newer version, or broken."""
    with pytest.raises(TopologyError, match=cure):
        read("alhena", {**config(Topology()), "metadata": metadata})


@pytest.mark.parametrize("prefix", ["", "A", "a.b", "a b", "a>", "1a", "a" * 33, None, 7])
def test_a_prefix_is_a_word(prefix: Any) -> None:
    """It names streams and subjects."""
    with pytest.raises(ValueError, match="prefix"):
        checked_prefix(prefix)
    with pytest.raises(ValueError, match="prefix"):
        JetStream("nats://a", prefix=prefix)


@pytest.mark.parametrize(
    "servers",
    ["", " , ", [], "http://a", "nats://", "nats://u:secret@", "nats://a:99999", "nats://a/secret",
     "nats://a?secret", "nats://a b", "tls://secret@a/b"],
)  # fmt: skip
def test_servers_that_cannot_work_are_refused_without_quoting_them(servers: Any) -> None:
    """They may hold a password."""
    with pytest.raises(ValueError, match="servers") as caught:
        JetStream(servers)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "broker",
    [
        JetStream("nats://u:secret@a", user="u2", password="secret"),
        JetStream(["nats://secret@a", "nats://b:1"], token="secret"),
    ],
)
def test_nobodys_password_is_shown(broker: JetStream) -> None:
    """In no repr and no text."""
    assert "secret" not in f"{broker!r} {broker} {broker.name} {vars(broker)['_addresses']}"
