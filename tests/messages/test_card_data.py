"""No card number gets in: what is found wherever it hides, what is let by, and that nothing found is handed on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.card_data import Hit, Kind, find, find_in, redacted, redacted_body, redacted_value
from messages.card_schemes import luhn, scheme_of
from tests.builders import payment_data

VISA = "4111111111111111"

TEST_CARDS = {  # As docs.stripe.com/testing and docs.adyen.com/development-resources have them, or of their form.
    VISA: "visa",
    "4222222222222": "visa",
    "4988438843884305": "visa",
    "5555555555554444": "mastercard",
    "2223003122003222": "mastercard",
    "2720992222222229": "mastercard",
    "378282246310005": "amex",
    "371449635398431": "amex",
    "6011111111111117": "discover",
    "6445644564456445": "discover",
    "36227206271667": "diners",
    "3056930009020004": "diners",
    "3566002020360505": "jcb",
    "6205500000000000004": "unionpay",
    "6243030000000001": "unionpay",
    "6771798021000008": "maestro",
    "501800000009": "maestro",
    "2200000000000004": "mir",
    "6062828888666688": "hipercard",
}

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "in fours": lambda n: " ".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "dashed": lambda n: "-".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "dotted": lambda n: ".".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "each digit apart": " ".join,
    "on several lines": lambda n: "\n".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "with a no-break space": lambda n: "\u00a0".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "with zero-width spaces": lambda n: "\u200b".join(n[i : i + 4] for i in range(0, len(n), 4)),
    "letters on both sides": lambda n: f"card{n}x",
    "an id": lambda n: f"ord_{n}",
    "with its code": lambda n: f"{n} 123",
    "filled up with zeros": lambda n: n.zfill(24)[-(len(n) + 3) :],
    "a query": lambda n: f"a=1&pan={n}&b=2",
    "every sign escaped": lambda n: "".join(f"%{ord(sign):02x}" for sign in n),
    "escaped twice": lambda n: quote(quote(" ".join(n))),
    "full width": lambda n: n.translate({48 + i: 0xFF10 + i for i in range(10)}),
    "Arabic digits": lambda n: n.translate({48 + i: 0x0660 + i for i in range(10)}),
    "JSON escapes": lambda n: "".join(f"\\u{ord(sign):04x}" for sign in n),
    "JSON that is broken off": lambda n: json.dumps({"a": "\u00a0".join((n[:4], n[4:]))})[:-1],
    "character references": lambda n: "".join(f"&#{ord(sign)};" for sign in n),
    "JSON in JSON in JSON": lambda n: json.dumps(json.dumps({"a": json.dumps([{"b": n}])})),
    "a number in JSON": lambda n: f'{{"a": {n}}}',
    "a name in JSON": lambda n: json.dumps({n: True}),
    "a name given twice": lambda n: f'{{"a": "{n}", "a": ""}}',
    "base64": lambda n: base64.b64encode(n.encode()).decode(),
    "in base64": lambda n: base64.b64encode(f"the card is {n}, thanks".encode()).decode(),
    "hexadecimal": lambda n: n.encode().hex(),
    "UTF-16": lambda n: n.encode("utf-16-le").decode("latin-1"),
}


@pytest.mark.parametrize(("number", "scheme"), TEST_CARDS.items())
def test_a_card_number_is_known_by_prefix_length_and_check_digit(number: str, scheme: str) -> None:
    broken = number[:-1] + str((int(number[-1]) + 1) % 10)

    assert scheme_of(number) == scheme
    assert scheme_of(broken) is None
    assert luhn(number)
    assert not luhn(broken)


@pytest.mark.parametrize("number", TEST_CARDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_card_number_is_found_in_every_form_and_nothing_of_it_is_left(
    form: Callable[[str], str], number: str
) -> None:
    written = form(number)

    hits = find(json.dumps({"metadata": {"note": written}}))

    assert any(hit.kind is Kind.CARD_NUMBER and hit.scheme == TEST_CARDS[number] for hit in hits)
    assert find_in(redacted(written)) == []
    assert number not in "".join(filter(str.isalnum, redacted(written)))
    assert number not in repr(hits)


def test_a_hit_says_where_and_never_what() -> None:
    body = json.dumps({"metadata": {"notes": ["hello", f"card {VISA}"], VISA: "x"}})

    assert find(body) == [
        Hit("metadata.notes.1", Kind.CARD_NUMBER, "visa"),
        Hit("metadata", Kind.CARD_NUMBER, "visa"),
    ]
    assert find_in({VISA: {"a": VISA}})[1].path == "[redacted card number].a"


@pytest.mark.parametrize(
    "text",
    [
        '{"cvv": "123"}',
        '{"card": {"cvc": 1234}}',
        '{"card_security_code": "0123"}',
        '{"paymentMethod.cardCvc2": " 737 "}',
        '"{\\"cvv2\\":\\"737\\"}"',
        "number=x&cvc=737&name=y",
        "card[cvc]=737",
        "CVV: 123",
        "cardCvc=737",
        "CVV737",
        "the security code is 1234",
        "%63vv%3D123",
        "<cvv>737</cvv>",
    ],
)
def test_a_security_code_is_found_by_what_it_is_called(text: str) -> None:
    assert [hit.kind for hit in find(text)] == [Kind.SECURITY_CODE]
    assert find_in(redacted(text)) == []
    assert not any(code in redacted(text) for code in ("123", "737"))


@pytest.mark.parametrize(
    "track",
    [
        f"%B{VISA}^DOE/JOHN^25121010000000000000?",
        f";{VISA}=25121011000012300000?",
        f"{VISA}D25121011000012300000",
        "B4111111111111112^DOE/JOHN^2512101",  # by its form, though the check digit is wrong
        quote(f";{VISA}=25121011000012300000?"),
    ],
)
def test_what_a_magnetic_stripe_says_is_found_by_its_form(track: str) -> None:
    assert Kind.TRACK in {hit.kind for hit in find(track)}
    assert redacted(track) == "[redacted track]"


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the check digit is wrong
        "1111111111111117",  # no scheme's prefix
        "550e8400-e29b-41d4-a716-446655440000",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-4111111111111111-01",
        "a4111111111111111bc0ffee",  # an object id
        "DE89 3704 0044 0532 0130 00",
        "2026-11-22T18:00:00.123456Z",
        "2026-11-22 18.00.00.000000",
        "1763834400000",
        "1763834400000000",
        "9223372036854775807",
        "0.4111111111111111",
        '{"score": 0.4242424242424242}',
        "+4915123456789",
        "192.168.100.200",
        "M469509594859802",
        "8415718415172204",
        "[4111, 1111, 1111, 1111]",
        '{"networkTxReference": "378282246310005"}',
        '{"pspReference": "8515131751004933"}',
        '{"ean": "4000000000006"}',
        '{"cvc_check": "pass", "avs": "123", "cvvResult": "1 Matches"}',
        '{"hmacSignature": "SCzTMYF0+xQeuHRC9lZqzDA9rdf/UCVv561eG1rp1N0="}',
        '{"last4": "1111", "cardSummary": "4242", "expiryDate": "3/2030", "cardBin": "411111"}',
    ],
)
def test_what_only_looks_like_card_data_is_let_by_untouched(text: str) -> None:
    assert find(text) == []
    assert redacted(text) is text


def test_a_known_reference_must_have_its_own_form_too() -> None:
    assert find(json.dumps({"networkTxReference": VISA}))
    assert find(json.dumps({"pspReference": VISA}))
    assert find(json.dumps({"ean": "4222222222222"}))


def test_json_stays_json_and_all_else_in_it_is_kept() -> None:
    body = json.dumps(
        {"a": [1, True, None, 1.5, "x"], "b": {"note": f"pan {VISA}!"}, "c": int(VISA)}
    ).encode()

    assert json.loads(redacted_body(body)) == {
        "a": [1, True, None, 1.5, "x"],
        "b": {"note": "pan [redacted card number]!"},
        "c": "[redacted card number]",
    }


def test_what_is_in_base64_stays_in_base64() -> None:
    inner = json.dumps({"reason": VISA, "pspReference": "X"}).encode()
    body = json.dumps({"gateway": "adyen", "body": base64.b64encode(inner).decode()}).encode()

    found = json.loads(base64.b64decode(json.loads(redacted_body(body))["body"]))

    assert found == {"reason": "[redacted card number]", "pspReference": "X"}


def test_headers_of_any_kind_are_looked_through() -> None:
    headers = {
        "x-death": [{"count": 1, "queue": VISA, "raw": VISA.encode()}],
        "n": int(VISA),
        "ok": b"\xff\x00",
    }

    clean = redacted_value(headers)

    assert find_in(clean) == []
    assert clean["x-death"][0]["count"] == 1
    assert clean["ok"] == b"\xff\x00"


def test_a_usual_command_is_not_touched() -> None:
    body = json.dumps(payment_data()).encode()

    assert find(body) == []
    assert redacted_body(body) is body


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + VISA.encode(),
        b'{"a":' * 900 + b'"' + VISA.encode() + b'"' + b"}" * 900,
        b"4 " * 20_000 + VISA.encode(),
        b"%25" * 80_000 + VISA.encode(),
        b"\\" * 200_000 + VISA.encode(),
        b"\xff\xfe" + VISA.encode(),
        b'{"a": "\\ud800 ' + VISA.encode() + b'"}',
        b'{"a": ' + b"9" * 5000 + b', "b": "' + VISA.encode() + b'"}',
    ],
    ids=[
        "never closed",
        "deep",
        "digits",
        "percent signs",
        "backslashes",
        "no text",
        "half a character",
        "long number",
    ],
)
def test_what_is_built_to_be_hard_is_read_all_the_same(body: bytes) -> None:
    assert find(body)
    assert VISA.encode() not in redacted_body(body)


@settings(max_examples=50)
@given(st.text() | st.binary() | st.dictionaries(st.text(), st.integers() | st.floats() | st.text()))
def test_anything_at_all_can_be_looked_through(value: object) -> None:
    clean = redacted_value(value)

    assert (find_in(value) == []) == (clean == value or value != value or "nan" in repr(value))
