"""Several processes on one broker, some of them killed: nothing is lost, and every repeat is marked."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers import embedded
from consumers.embedded.channel import Channel
from tests.consumers.embedded.conftest import Connect
from tests.consumers.embedded.support import Process, await_that, count, declare, publish, take_all

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    """Start a process in a role, with a queue and a number; it is killed at the end of the test."""
    started: list[Process] = []

    def start_another(role: str, queue: str, number: int) -> Process:
        started.append(Process(tmp_path / f"story-{len(started)}", role, url, queue, str(number)))
        return started[-1]

    yield start_another
    for process in started:
        process.kill()


def fill(channel: Channel, queue: str, numbers: range) -> None:
    channel.tx_select()
    for number in numbers:
        publish(channel, str(number), key=queue)
    channel.tx_commit()


def is_empty(channel: Channel) -> bool:
    """Whether no message is left, ready or unacked."""
    assert channel.connection is not None
    (left,) = channel.connection.store.sql.execute("SELECT count(*) FROM message").fetchone()
    return bool(left == 0)


def await_any_that_speaks(heard: dict[Process, int]) -> Process:
    """Wait until one of the processes has said more lines than were heard of it, and return it."""
    spoken: list[Process] = []

    def has_spoken() -> bool:
        spoken.extend(process for process, before in heard.items() if len(process.lines) > before)
        return bool(spoken)

    await_that(has_spoken)
    return spoken[0]


def owner_files(url: str) -> list[Path]:
    return list(Path(url.removeprefix("embedded://")).glob("owner-*"))


def test_what_a_killed_process_held_returns_at_once_marked_and_in_order(
    channel: Channel, url: str, start: Start
) -> None:
    declare(channel, "q")
    for number in range(5):
        publish(channel, str(number), key="q")
    holder = start("hold", "q", 3)
    holder.await_lines(1)
    assert count(channel, "q") == 2

    holder.kill()

    messages = [channel.basic_get("q") for _ in range(5)]
    assert [message.body for message in messages if message] == [b"0", b"1", b"2", b"3", b"4"]
    redelivered = [message.delivery_info["redelivered"] for message in messages if message]
    assert redelivered == [True, True, True, False, False]
    assert len(owner_files(url)) == 1


def test_a_waiting_consumer_gets_what_a_killed_process_held(
    connection: embedded.Connection, channel: Channel, start: Start
) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    holder = start("hold", "q", 1)
    holder.await_lines(1)
    bodies: list[bytes] = []
    channel.basic_consume("q", callback=lambda message: bodies.append(message.body))
    assert connection.dispatch() == 0

    holder.kill()
    connection.drain_events(timeout=30)

    assert bodies == [b"m"]


def test_a_process_that_stands_still_is_not_taken_for_dead(channel: Channel, start: Start) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    holder = start("hold", "q", 1)
    holder.await_lines(1)

    holder.stop()

    assert channel.basic_get("q") is None


def test_processes_share_a_queue_and_nobody_gets_the_same_message(channel: Channel, start: Start) -> None:
    declare(channel, "q")
    fill(channel, "q", range(1000))

    workers = [start("work", "q", 10) for _ in range(3)]
    await_that(lambda: is_empty(channel))

    sightings = [line.split() for worker in workers for line in worker.lines]
    assert sorted(int(number) for number, _ in sightings) == list(range(1000))
    assert {redelivered for _, redelivered in sightings} == {"False"}


def test_in_a_storm_of_kills_nothing_is_lost_and_every_repeat_is_marked(
    channel: Channel, url: str, start: Start
) -> None:
    declare(channel, "q")
    everyone = [start("work", "q", 20) for _ in range(4)]
    alive = list(everyone)
    for round_ in range(12):
        heard = {worker: len(worker.lines) for worker in alive}
        fill(channel, "q", range(round_ * 200, (round_ + 1) * 200))
        # Whoever speaks holds further messages: the kill falls into the middle of its work.
        victim = await_any_that_speaks(heard)
        victim.kill()
        alive.remove(victim)
        alive.append(start("work", "q", 20))
        everyone.append(alive[-1])
    await_that(lambda: is_empty(channel))

    sightings = [line.split() for worker in everyone for line in worker.lines]
    assert {int(number) for number, _ in sightings} == set(range(2400))
    unmarked = [number for number, redelivered in sightings if redelivered == "False"]
    assert len(unmarked) == len(set(unmarked))
    assert len(unmarked) < len(sightings)
    # One file for each of the living, the latest of which may be about to be born; none for the dead.
    await_that(lambda: len(owner_files(url)) == 1 + len(alive))


@pytest.mark.parametrize("transactions", [1, 2, 3, 5, 8])
def test_a_publisher_killed_in_a_transaction_leaves_whole_transactions_only(
    channel: Channel, start: Start, transactions: int
) -> None:
    declare(channel, "q")
    publisher = start("fill", "q", 100)
    publisher.await_lines(transactions)
    publisher.kill()
    confirmed = int(publisher.lines[-1])

    bodies = take_all(channel, "q")

    assert [int(body) for body in bodies] == list(range(len(bodies)))
    assert len(bodies) % 100 == 0
    assert confirmed <= len(bodies) <= confirmed + 100


def test_a_connection_left_without_a_word_counts_as_dead(channel: Channel, connect: Connect) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    other = connect()
    other.channel().basic_get("q")

    other.collect()

    message = channel.basic_get("q")
    assert message is not None
    assert message.delivery_info["redelivered"]


def test_a_forked_child_neither_uses_nor_keeps_alive_its_parent_s_connection(
    channel: Channel, connect: Connect
) -> None:
    declare(channel, "q")
    publish(channel, "m", key="q")
    holder = connect()
    theirs = holder.channel()
    theirs.basic_get("q")
    may_exit, let_exit = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            theirs.basic_ack(1)
        except embedded.BrokerDown:
            os.close(let_exit)
            os.read(may_exit, 1)
            os._exit(0)
        finally:
            os._exit(1)
    try:
        holder.collect()

        # The child lets go of the lock in its first moments, whenever it gets to them.
        await_that(lambda: channel.basic_get("q") is not None)
    finally:
        os.close(let_exit)
        os.close(may_exit)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    channel.basic_ack(0, multiple=True)
    publish(channel, "still here", key="q")
    assert take_all(connect().channel(), "q") == [b"still here"]


def test_a_process_whose_directory_was_removed_learns_of_it(
    connection: embedded.Connection, channel: Channel, connect: Connect, url: str
) -> None:
    declare(channel, "q")
    channel.basic_consume("q", callback=lambda message: None)
    publisher = connect().channel()
    shutil.rmtree(url.removeprefix("embedded://"))

    with pytest.raises(embedded.BrokerDown, match="were removed"):
        publish(publisher, "m", key="q")
    with pytest.raises(embedded.BrokerDown, match="were removed"):
        connection.drain_events(timeout=30)


def test_a_file_left_by_one_that_died_being_born_is_cleared_away(url: str, connect: Connect) -> None:
    connect()
    left = Path(url.removeprefix("embedded://")) / "owner-0123"
    left.touch()

    connect()

    assert not left.exists()
    assert len(owner_files(url)) == 2


def test_many_processes_may_open_a_new_broker_at_the_same_moment(
    url: str, connect: Connect, start: Start
) -> None:
    publishers = [start("fill", "nowhere", 1) for _ in range(6)]
    for publisher in publishers:
        publisher.await_lines(1)
    for publisher in publishers:
        publisher.kill()

    connect()
    assert len(owner_files(url)) == 1
