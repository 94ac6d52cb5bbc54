"""The exchanges, queues and bindings of the wire contract."""

import pytest

from consumers import topology
from consumers.topology import WorkQueue


def test_the_queues_are_bound_as_the_wire_contract_says() -> None:
    bound = {
        queue.name: {(binding.exchange, binding.routing_key) for binding in queue.bindings}
        for queue in topology.WORK_QUEUES
    }

    assert bound == {
        "payments.payment-commands": {("payments.commands", "payment.*")},
        "payments.refund-commands": {("payments.commands", "refund.*")},
        "payments.method-commands": {
            ("payments.commands", "payment_method.*"),
            ("payments.commands", "query.*"),
            ("payments.commands", "customer.*"),
        },
        "payments.operations": {("payments.operations", "review.*")},
        "payments.gateway-callbacks": {("payments.callbacks", "callback.*")},
    }


def test_every_exchange_a_queue_names_is_declared() -> None:
    declared = {exchange.name for exchange in topology.EXCHANGES}

    assert {binding.exchange for queue in topology.WORK_QUEUES for binding in queue.bindings} <= declared
    assert {queue.arguments["x-dead-letter-exchange"] for queue in topology.WORK_QUEUES} <= declared


@pytest.mark.parametrize("queue", topology.WORK_QUEUES, ids=lambda queue: queue.name)
def test_no_queue_may_lose_a_message(queue: WorkQueue) -> None:
    work, dead = queue.arguments, queue.dead_letter_arguments

    assert work["x-queue-type"] == dead["x-queue-type"] == "quorum"
    assert 0 < int(work["x-delivery-limit"]) < int(dead["x-delivery-limit"]) == 2147483647
    assert work["x-dead-letter-routing-key"] == f"{queue.name}.dead"
    assert (work["x-dead-letter-strategy"], work["x-overflow"]) == ("at-least-once", "reject-publish")
    assert not {"x-message-ttl", "x-expires", "x-max-length"} & (work.keys() | dead.keys())
