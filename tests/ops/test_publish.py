"""Commands from a file: read line by line, refused by line and field, confirmed by the broker before it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.bus import KombuBus
from consumers.delivery import BusDown, BusRefused
from messages.envelope import read_command
from ops.publish import BadLine, CommandLine, NotPublished, publish, read_lines
from tests.builders import payment_data, refund_data
from tests.consumers.bus_driver import await_deliveries, opened


def a_line(**fields: Any) -> str:
    """A PaymentRequested as a line of a file; None leaves a field out."""
    line = {"id": "m_1", "source": "/shop", "type": "PaymentRequested", "data": payment_data(), **fields}
    return json.dumps({name: value for name, value in line.items() if value is not None})


def read(*lines: str, checked: bool = True) -> list[CommandLine]:
    """The commands on some lines."""
    return list(read_lines(lines, checked=checked))


def test_a_whole_cloudevent_keeps_its_id_and_source() -> None:
    (command,) = read(a_line(specversion="1.0"))

    assert (command.id, command.source, command.type) == ("m_1", "/shop", "PaymentRequested")
    assert json.loads(command.data) == payment_data()


def test_a_line_without_them_gets_an_id_of_its_own_and_our_source() -> None:
    first, second = read(a_line(id=None, source=None), a_line(id=None, source=None))

    assert first.id != second.id
    assert first.source == "/payments-cli"


def test_what_is_read_is_what_the_worker_reads() -> None:
    (command,) = read(a_line())

    envelope = read_command(content_type="application/json", headers=command.headers(), body=command.data)
    assert (envelope.id, envelope.source, envelope.command.payment_id) == ("m_1", "/shop", "pay_1")


def test_blank_lines_are_passed_over() -> None:
    assert len(read("", a_line(), "  \n", a_line())) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", 'line 2: not a JSON object with "type" and "data"'),
        ("[1]", 'line 2: not a JSON object with "type" and "data"'),
        ('"text"', 'line 2: not a JSON object with "type" and "data"'),
        ('{"type": "PaymentRequested"}', 'line 2: not a JSON object with "type" and "data"'),
        (a_line(type="PaymentRequestd"), "line 2: type 'PaymentRequestd' is none of PaymentRequested,"),
        (a_line(type=["PaymentRequested"]), 'line 2: not a JSON object with "type" and "data"'),
        (a_line(source=7), "line 2:"),
        (a_line(data={**payment_data(), "amonut": 1}), "line 2: amonut: Extra inputs are not permitted"),
        (a_line(data=None), 'line 2: not a JSON object with "type" and "data"'),
        (a_line(data=payment_data(amount=None)), "line 2: amount: Field required"),
    ],
)
def test_a_line_that_is_no_command_is_named_with_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(BadLine) as refused:
        read(a_line(), line)

    assert str(refused.value).startswith(said)


def test_a_line_with_card_data_is_not_sent_and_not_quoted() -> None:
    with pytest.raises(BadLine, match="line 2: it holds card data") as refused:
        read(a_line(), a_line(data=payment_data(description="4111 1111 1111 1111")))

    assert "4111" not in str(refused.value)


def test_unchecked_lines_are_sent_as_they_are() -> None:
    (command,) = read(a_line(data={"amonut": 1}), checked=False)

    assert json.loads(command.data) == {"amonut": 1}


@pytest.fixture
def broker(tmp_path: Path) -> str:
    """An embedded broker."""
    return f"embedded://{tmp_path}"


def test_what_is_published_waits_in_the_queue_of_its_kind(broker: str) -> None:
    commands = read(a_line(), a_line(id="m_2", type="RefundRequested", data=refund_data()))

    count = publish([broker], commands)

    assert count == 2
    with opened(broker, queues=["payments.payment-commands", "payments.refund-commands"]) as bus:
        deliveries = await_deliveries(bus, 2)
    by_queue = {delivery.queue: delivery for delivery in deliveries}
    refund = by_queue["payments.refund-commands"]
    assert json.loads(refund.body) == refund_data()
    assert (refund.message_id, refund.type) == ("m_2", "RefundRequested")
    assert refund.headers["cloudEvents_id"] == "m_2"


def test_more_than_one_batch_is_published_in_order_and_its_progress_told(broker: str) -> None:
    commands = read(*(a_line(id=f"m_{number}") for number in range(1201)))
    told: list[int] = []

    count = publish([broker], commands, progress=told.append)

    assert count == 1201
    assert told == [500, 1000, 1201]
    with opened(broker, prefetch=2000) as bus:
        assert [each.message_id for each in await_deliveries(bus, 1201)] == [c.id for c in commands]


def test_nothing_to_publish_is_published_at_once(broker: str) -> None:
    assert publish([broker], []) == 0


def test_a_broker_that_is_not_there_is_said_so() -> None:
    with pytest.raises(BusDown, match=r"127\.0\.0\.1:1/"):
        publish(["amqp://u:geheim@127.0.0.1:1/"], read(a_line()))


def test_a_broker_url_that_is_none_is_refused() -> None:
    with pytest.raises(BusRefused, match="must start with amqp"):
        publish(["http://h/"], read(a_line()))


def test_a_broker_lost_on_the_way_is_no_success(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KombuBus.publish

    def breaks(bus: KombuBus, messages: Any) -> None:
        monkeypatch.setattr(KombuBus, "publish", real)
        bus.close()  # as if the broker had closed the connection
        real(bus, messages)

    monkeypatch.setattr(KombuBus, "publish", breaks)
    with pytest.raises(NotPublished, match="lost after 0 confirmed commands"):
        publish([broker], read(a_line()))
