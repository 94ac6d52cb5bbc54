"""The message contract in docs/messages: up to date, true to the models, valid by AsyncAPI's own schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import ValidationError

from consumers import topology
from consumers.delivery import Delivery
from consumers.outbound import dead_letter, event_message, event_row, rejection_row
from handlers.decision import announce
from handlers.rejection import conflict
from messages.commands import COMMANDS, Message
from messages.envelope import STRUCTURED, Unreadable, read_command
from messages.events import EVENTS, PaymentAuthorized
from messages.money import EXPONENTS
from ops.message_asyncapi import asyncapi, queue_of
from ops.message_docs import HOME, differences, write
from ops.message_examples import COMMAND_EXAMPLES, EVENT_EXAMPLES, PAYMENT_ID, Body
from ops.message_schemas import message_schema
from tests import builders
from tests.ops.asyncapi_schema import NoSchema, official_schema

MODELS: dict[str, type[Message]] = {**COMMANDS, **EVENTS}
EXAMPLES = {**COMMAND_EXAMPLES, **EVENT_EXAMPLES}


def model_takes(name: str, body: Any) -> bool:
    """Whether the class of a message accepts a body."""
    try:
        MODELS[name].model_validate_json(json.dumps(body))
    except ValidationError:
        return False
    return True


def schema_takes(name: str, body: Any) -> bool:
    """Whether the schema of a message accepts a body."""
    verdict: bool = Draft202012Validator(message_schema(name)).is_valid(body)
    return verdict


def changed(name: str, path: str, value: object) -> Body:
    """The fullest example of a message with one field set; a path goes through dots."""
    body = deepcopy(EXAMPLES[name][-1])
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    place[last] = value
    return body


def without(name: str, field: str) -> Body:
    """The fullest example of a message without one of its fields."""
    return {key: value for key, value in EXAMPLES[name][-1].items() if key != field}


# --- the files -----------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_classes_say() -> None:
    assert differences(HOME) == [], "run: python -m ops.message_docs"


def test_a_file_that_is_missing_changed_or_left_over_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "PaymentFailed.json").unlink()
    (tmp_path / "asyncapi.json").write_text("{}\n")
    (tmp_path / "PaymentForgotten.json").write_text("{}\n")

    found = differences(tmp_path)

    assert found == [
        "PaymentFailed.json is missing",
        "PaymentForgotten.json belongs to no message",
        "asyncapi.json differs",
    ]


def test_the_check_writes_nothing_and_fails_when_something_differs(tmp_path: Path) -> None:
    home = tmp_path / "messages"
    shutil.copytree(HOME, home)
    (home / "asyncapi.json").write_text("{}\n")

    checked = subprocess.run(
        [sys.executable, "-m", "ops.message_docs", str(home), "--check"],
        cwd=HOME.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 1
    assert "asyncapi.json differs" in checked.stderr
    assert (home / "asyncapi.json").read_text() == "{}\n"


def test_writing_mends_what_differs_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "PaymentForgotten.json").write_text("{}\n")
    (tmp_path / "README.md").write_text("read me\n")

    write(tmp_path)

    assert differences(tmp_path) == []
    assert (tmp_path / "README.md").read_text() == "read me\n"


# --- the schemas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_message_has_a_schema_that_compiles_and_names_itself(name: str) -> None:
    schema = message_schema(name)

    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:payment-service:{name}:1"
    assert schema["title"] == name
    assert schema["description"].endswith(".")


def test_every_message_has_an_example_and_no_example_is_left_over() -> None:
    assert EXAMPLES.keys() == MODELS.keys()
    assert all(EXAMPLES.values())


@pytest.mark.parametrize(
    ("name", "body"), [(name, body) for name, bodies in EXAMPLES.items() for body in bodies]
)
def test_every_example_is_accepted_by_its_schema_and_by_its_model(name: str, body: Body) -> None:
    assert schema_takes(name, body)
    assert model_takes(name, body)


@pytest.mark.parametrize("name", MODELS)
def test_the_fullest_examples_show_every_field_of_a_message(name: str) -> None:
    shown = {field for body in EXAMPLES[name] for field in body}
    left_out = {
        "PaymentRequested": {"payment_method_id"},  # the other of two ways to say it
        "RefundFailed": {"gateway_code"},  # shown by PaymentFailed
        "PaymentCaptureFailed": {"gateway_code"},
        "PaymentVoidFailed": {"gateway_code"},
        "CommandRejected": {"payment_id", "refund_id"},  # shown with a conflict only
    }

    assert MODELS[name].model_fields.keys() - shown == left_out.get(name, set())


GOOD: list[tuple[str, Body]] = [
    (
        "PaymentRequested",
        {**EXAMPLES["PaymentRequested"][0], "payment_method": None, "payment_method_id": "pm_7"},
    ),
    ("PaymentRequested", changed("PaymentRequested", "alternatives", [])),
    ("PaymentRequested", changed("PaymentRequested", "payment_method_id", None)),
    ("PaymentRequested", changed("PaymentRequested", "context", None)),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {f"k{n}": "v" for n in range(50)})),
    ("PaymentRequested", changed("PaymentRequested", "amount.minor", 1)),
    ("PaymentRequested", changed("PaymentRequested", "amount.minor", 2**63 - 1)),
    ("RefundRequested", changed("RefundRequested", "amount", None)),
    ("RefundRequested", without("RefundRequested", "reason")),
    ("PaymentSucceeded", changed("PaymentSucceeded", "capturable.minor", 0)),
    ("PaymentFailed", without("PaymentFailed", "gateway")),
]

WRONG_FOR_ALL: list[Any] = [None, [], "text", 1, {}]
WRONG_IN_COMMANDS: dict[str, list[Any]] = {
    "amount": [1999, "19.99 EUR", {}],
    "amount.minor": [0, -1, 19.99, "1999", True, None, 2**63],
    "amount.currency": ["eur", "EURO", "", 978, None],
    "amount.unit": ["cent"],
    "payment_id": ["", "pay.1", "pay 1", "p" * 65, "päy", 1, None],
    "amonut": [1999],
}
BAD: list[tuple[str, Any]] = [
    *((name, without(name, field)) for name in MODELS for field in message_schema(name)["required"]),
    *(
        (name, changed(name, field, []))
        for name in MODELS
        for field in MODELS[name].model_fields
        if field != "alternatives"
    ),
    *((name, body) for name in MODELS for body in WRONG_FOR_ALL),
    *(
        (name, changed(name, path, value))
        for name in COMMANDS
        for path, values in WRONG_IN_COMMANDS.items()
        if path.split(".")[0] in EXAMPLES[name][-1] or path == "amonut"
        for value in values
    ),
    ("PaymentRequested", without("PaymentRequested", "payment_method")),
    ("PaymentRequested", changed("PaymentRequested", "payment_method", None)),
    ("PaymentRequested", changed("PaymentRequested", "payment_method_id", "pm_7")),
    ("PaymentRequested", changed("PaymentRequested", "payment_method.token", "")),
    ("PaymentRequested", changed("PaymentRequested", "payment_method.number", "4242")),
    ("PaymentRequested", changed("PaymentRequested", "context.billing_country", "de")),
    ("PaymentRequested", changed("PaymentRequested", "context.age", 40)),
    ("PaymentRequested", changed("PaymentRequested", "capture", "later")),
    ("PaymentRequested", changed("PaymentRequested", "initiator", None)),
    ("PaymentRequested", changed("PaymentRequested", "return_url", "javascript:alert(1)")),
    ("PaymentRequested", changed("PaymentRequested", "statement_descriptor", "d" * 23)),
    ("PaymentRequested", changed("PaymentRequested", "gateway", "Stripe!")),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {f"k{n}": "v" for n in range(51)})),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {"k" * 41: "v"})),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {"": "v"})),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {"k": "v" * 501})),
    ("PaymentRequested", changed("PaymentRequested", "metadata", {"k": 1})),
    ("RefundRequested", changed("RefundRequested", "reason", "")),
    ("PaymentAuthorized", changed("PaymentAuthorized", "sequence", 0)),
    ("PaymentFailed", changed("PaymentFailed", "reason", "bad_weather")),
    ("PaymentFailed", changed("PaymentFailed", "retryable", "yes")),
    ("PaymentActionRequired", changed("PaymentActionRequired", "next_action.type", "call")),
]


@pytest.mark.parametrize(("name", "body"), GOOD)
def test_schema_and_model_both_accept_what_is_right(name: str, body: Body) -> None:
    assert (schema_takes(name, body), model_takes(name, body)) == (True, True)


@pytest.mark.parametrize(("name", "body"), BAD)
def test_schema_and_model_both_refuse_what_is_wrong(name: str, body: Any) -> None:
    assert (schema_takes(name, body), model_takes(name, body)) == (False, False)


@pytest.mark.parametrize("body", [
    changed("PaymentRequested", "amount.currency", "XXX"),
    changed("PaymentRequested", "amount.minor", 1999.0),
    changed("PaymentRequested", "payment_method.gateway", "sandbox"),
    changed("PaymentRequested", "alternatives", [{"token": "tok"}]),
])  # fmt: skip
def test_what_a_schema_cannot_say_is_said_in_its_comment(body: Body) -> None:
    assert (schema_takes("PaymentRequested", body), model_takes("PaymentRequested", body)) == (True, False)
    comment = message_schema("PaymentRequested")["$comment"]
    assert all(
        word in comment
        for word in ("ISO 4217", "decimal point", "`payment_method.gateway`", "`alternatives`")
    )


def test_every_currency_of_the_model_passes_the_schema() -> None:
    for currency in EXPONENTS:
        assert schema_takes("PaymentRequested", changed("PaymentRequested", "amount.currency", currency))


@pytest.mark.parametrize("name", EVENTS)
def test_a_consumer_that_validates_events_is_not_broken_by_an_added_field(name: str) -> None:
    assert schema_takes(name, changed(name, "added_next_year", 1))
    assert schema_takes(name, changed(name, "amount", {"minor": 1, "currency": "EUR", "added": 1}))


def test_events_that_are_really_published_pass_their_schemas() -> None:
    for message in published():
        body = json.loads(message.body)
        Draft202012Validator(message_schema(message.type)).validate(body)


# --- the AsyncAPI document -----------------------------------------------------------------------

DOCUMENT = asyncapi()


def published() -> list[Any]:
    """An event about a payment and a rejection, made by the code that publishes them."""
    payment, held = announce(
        builders.a_payment(), PaymentAuthorized, builders.NOON, amount=builders.PRICE, gateway="stripe"
    )
    refused = conflict(builders.asked(builders.a_payment_requested()), "payment_id", builders.NOON)
    assert refused.rejection is not None
    rows = [
        event_row(held, cause=f"{payment.payment_id}.a1", now=builders.NOON),
        rejection_row(refused.rejection, now=builders.NOON),
    ]
    return [event_message(row) for row in rows]


def a_dead_letter() -> Any:
    """A dead letter made by the code that publishes it."""
    delivery = Delivery(
        queue=topology.PAYMENT_COMMANDS,
        exchange=topology.COMMANDS.name,
        routing_key="payment.requested",
        body=b"\xff",
        headers={},
        content_type=None,
        message_id=None,
        correlation_id=None,
        reply_to=None,
        type=None,
        app_id=None,
        redelivered=False,
        tag=1,
        generation=1,
    )
    return dead_letter(
        delivery, reason="unreadable", detail="no JSON", at=None, attempts=1, origin="", now=builders.NOON
    )


def resolved(reference: str) -> Any:
    """What a reference inside the document points to."""
    place: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        place = place[part]
    return place


def references(node: Any) -> Iterator[str]:
    """All references below a node."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def accepts(part: Any, value: Any) -> bool:
    """Whether a schema inside the document accepts a value, by the draft that AsyncAPI builds on."""
    whole = {**part, "components": DOCUMENT["components"]}
    verdict: bool = Draft7Validator(whole).is_valid(value)
    return verdict


def test_the_document_is_valid_by_the_official_schema_of_asyncapi() -> None:
    try:
        schema = official_schema()
    except NoSchema as why:
        pytest.skip(str(why))

    problems = [error.message for error in Draft7Validator(schema).iter_errors(DOCUMENT)]

    assert problems == []


def test_every_reference_in_the_document_leads_somewhere() -> None:
    found = set(references(DOCUMENT))

    assert found
    for reference in found:
        assert reference.startswith("#/")
        assert resolved(reference) is not None


def test_the_messages_of_an_operation_are_those_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_every_command_is_received_and_every_event_is_sent() -> None:
    actions = {name: operation["action"] for name, operation in DOCUMENT["operations"].items()}

    assert actions == {
        **{f"receive{name}": "receive" for name in COMMANDS},
        **{f"send{name}": "send" for name in EVENTS},
        "sendDeadLetter": "send",
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_channel_has_the_exchange_and_routing_key_of_its_message(name: str) -> None:
    model = MODELS[name]
    channel = DOCUMENT["channels"][model.routing_key]
    binding = channel["bindings"]["amqp"]

    assert channel["address"] == model.routing_key
    assert binding["is"] == "routingKey"
    assert binding["exchange"]["name"] == model.exchange
    assert channel["messages"][name] == {"$ref": f"#/components/messages/{name}"}


def test_every_queue_stands_there_with_its_arguments_and_bindings() -> None:
    for queue in topology.WORK_QUEUES:
        for name, arguments in (
            (queue.name, queue.arguments),
            (queue.dead_letter_queue, queue.dead_letter_arguments),
        ):
            binding = DOCUMENT["channels"][name]["bindings"]["amqp"]
            assert binding["queue"]["name"] == name
            assert binding["x-arguments"] == arguments
            assert binding["x-bound-to"]
    assert [each["name"] for each in DOCUMENT["x-exchanges"]] == [each.name for each in topology.EXCHANGES]


def test_commands_reach_the_queue_of_their_kind() -> None:
    assert queue_of("PaymentRequested") == topology.PAYMENT_COMMANDS
    assert queue_of("RefundRequested") == topology.REFUND_COMMANDS


def test_every_example_in_the_document_is_valid_by_its_headers_and_payload() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        for example in message.get("examples", []):
            assert accepts(message["payload"], example["payload"])
            assert "headers" not in example or accepts(message["headers"], example["headers"])


def test_the_worker_reads_every_example_of_a_command_in_both_modes() -> None:
    for name in COMMANDS:
        for mode in (name, f"{name}Structured"):
            message = DOCUMENT["components"]["messages"][mode]
            for example in message["examples"]:
                envelope = read_command(
                    content_type=message["contentType"],
                    headers=example.get("headers", {}),
                    body=json.dumps(example["payload"]).encode(),
                )
                assert envelope.type == name


def test_the_worker_reads_the_command_on_the_page_for_other_teams() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)

    envelope = read_command(content_type=STRUCTURED, headers={}, body=example.encode())

    assert envelope.command.payment_id == PAYMENT_ID


def test_the_worker_refuses_what_the_structured_schema_refuses() -> None:
    message = DOCUMENT["components"]["messages"]["PaymentRequestedStructured"]
    (example,) = message["examples"]
    for name in ("id", "source", "type", "data"):
        event = {key: value for key, value in example["payload"].items() if key != name}
        assert not accepts(message["payload"], event)
        with pytest.raises(Unreadable):
            read_command(content_type=STRUCTURED, headers={}, body=json.dumps(event).encode())


def test_both_drafts_give_the_same_verdict_on_every_message() -> None:
    payloads = DOCUMENT["components"]["schemas"]

    for name, body in GOOD:
        assert accepts(payloads[name], body), (name, body)
    for name, body in BAD:
        assert not accepts(payloads[name], body), (name, body)


def test_what_is_really_published_has_the_headers_the_document_says() -> None:
    for message in published():
        headers = resolved(f"#/components/schemas/{message.type}Headers")
        assert accepts(headers, message.headers)
        assert headers["properties"].keys() - {"cloudEvents_traceparent"} == message.headers.keys()
        assert message.correlation_id == message.headers["cloudEvents_correlationid"]


def test_a_dead_letter_has_the_headers_the_document_says() -> None:
    letter = a_dead_letter()
    headers = resolved("#/components/schemas/DeadLetterHeaders")

    assert accepts(headers, letter.headers)
    assert headers["properties"].keys() == letter.headers.keys()
    assert letter.routing_key in DOCUMENT["channels"][letter.exchange]["parameters"]["queue"]["enum"]
    assert letter.routing_key in DOCUMENT["channels"]
