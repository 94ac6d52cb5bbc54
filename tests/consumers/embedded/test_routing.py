"""Which bindings match which routing keys."""

import amqp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.embedded.channel import Channel
from consumers.embedded.routing import topic_matches
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import declare, publish, take_all

words = st.lists(st.sampled_from(["a", "b", "", "pay"]), max_size=6)
patterns = st.lists(st.sampled_from(["a", "b", "", "pay", "*", "#"]), max_size=6)


def reference(pattern: list[str], key: list[str]) -> bool:
    """The rules of AMQP 0-9-1, word for word."""
    match pattern, key:
        case [], []:
            return True
        case ["#", *rest], _:
            return any(reference(rest, key[taken:]) for taken in range(len(key) + 1))
        case ["*", *rest], [_, *others]:
            return reference(rest, others)
        case [word, *rest], [other, *others] if word == other:
            return reference(rest, others)
        case _:
            return False


@given(pattern=patterns, key=words)
def test_a_topic_matches_word_by_word(pattern: list[str], key: list[str]) -> None:
    # No words and one empty word are written alike; as in RabbitMQ that means no words.
    key = [] if key == [""] else key
    pattern = [] if pattern == [""] else pattern

    assert topic_matches(".".join(pattern), ".".join(key)) == reference(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("pay.#", "pay", True),
        ("pay.#", "pay.eu.ok", True),
        ("pay.#", "payment", False),
        ("#", "", True),
        ("#.ok", "ok", True),
        ("pay.*", "pay", False),
        ("pay.*", "pay.eu", True),
        ("pay.*", "pay.eu.ok", False),
        ("*", "", False),
        ("#.#.#.#.#.#.#.#.x", ".".join("a" * 60), False),
        ("pay.*.#.ok", "pay.eu.ok", True),
        ("pay.*.#.ok", "pay.ok", False),
        ("p[a]y", "pay", False),
    ],
)
def test_a_star_is_one_word_and_a_hash_any_number(pattern: str, key: str, matches: bool) -> None:
    assert topic_matches(pattern, key) is matches


@pytest.mark.parametrize(
    ("kind", "key", "reached"),
    [
        ("direct", "pay.eu", {"exact"}),
        ("direct", "pay.*", {"star"}),
        ("topic", "pay.eu", {"exact", "star", "hash"}),
        ("topic", "pay", {"hash"}),
        ("topic", "refund.eu", set()),
        ("fanout", "anything", {"exact", "star", "hash"}),
    ],
)
def test_each_kind_of_exchange_routes_in_its_own_way(
    channel: Channel, kind: str, key: str, reached: set[str]
) -> None:
    channel.exchange_declare("ex", kind, durable=True, auto_delete=False)
    for queue, binding in {"exact": "pay.eu", "star": "pay.*", "hash": "pay.#"}.items():
        declare(channel, queue)
        channel.queue_bind(queue, "ex", binding)

    publish(channel, "m", exchange="ex", key=key)

    assert {queue for queue in ("exact", "star", "hash") if take_all(channel, queue)} == reached


def test_the_default_exchange_routes_by_the_name_of_the_queue(channel: Channel) -> None:
    declare(channel, "q")

    publish(channel, "m", key="q")

    assert take_all(channel, "q") == [b"m"]


def test_a_queue_bound_twice_gets_a_message_once(channel: Channel) -> None:
    channel.exchange_declare("ex", "topic", durable=True, auto_delete=False)
    declare(channel, "q")
    channel.queue_bind("q", "ex", "pay.*")
    channel.queue_bind("q", "ex", "#")

    publish(channel, "m", exchange="ex", key="pay.eu")

    assert take_all(channel, "q") == [b"m"]


def test_who_declared_nothing_still_routes_right(channel: Channel, connect: Connect) -> None:
    channel.exchange_declare("ex", "topic", durable=True, auto_delete=False)
    declare(channel, "q")
    channel.queue_bind("q", "ex", "pay.#")

    publish(connect().channel(), "m", exchange="ex", key="pay")

    assert take_all(channel, "q") == [b"m"]


def test_an_unbound_queue_gets_nothing_more(channel: Channel) -> None:
    channel.exchange_declare("ex", "direct", durable=True, auto_delete=False)
    declare(channel, "q")
    channel.queue_bind("q", "ex", "key")
    channel.queue_unbind("q", "ex", "key")

    publish(channel, "m", exchange="ex", key="key")

    assert take_all(channel, "q") == []


def test_publishing_to_a_missing_exchange_is_an_error(channel: Channel) -> None:
    with pytest.raises(amqp.NotFound, match="no exchange 'nowhere'"):
        publish(channel, "m", exchange="nowhere", key="key")
