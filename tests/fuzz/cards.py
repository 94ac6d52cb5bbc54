"""Card numbers as they are issued, the forms people and programs write them in, and numbers that are none.

On its own on purpose: it knows nothing of how the service recognises a card number, not even its check digit.
"""

from __future__ import annotations

import base64
import json
import string
import uuid
from collections.abc import Callable
from random import Random
from urllib.parse import quote

SCHEMES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "visa": (("4",), (13, 16, 16, 16, 19)),
    "mastercard": (("51", "52", "53", "54", "55"), (16,)),
    "mastercard, series 2": (("2221", "2345", "2500", "2699", "2720"), (16,)),
    "amex": (("34", "37"), (15,)),
    "discover": (("6011", "644", "649", "65"), (16, 19)),
    "diners": (("300", "305", "3095", "36", "38", "39"), (14, 16, 19)),
    "jcb": (("3528", "3550", "3589"), (16, 19)),
    "unionpay": (("6200", "6221", "6250", "6282"), (16, 17, 18, 19)),
    "maestro": (("5018", "5020", "5038", "6304", "6759", "6761", "6763"), (12, 13, 14, 15, 16, 18, 19)),
    "maestro, other": (("56", "57", "58", "67"), (16, 18, 19)),
    "mir": (("2200", "2204"), (16, 19)),
    "elo": (("506699", "509000", "636368"), (16,)),
    "hipercard": (("606282",), (16,)),
    "rupay": (("508", "6521"), (16,)),
    "troy": (("9792",), (16,)),
}


def checked(digits: str) -> str:
    """The digits and the check digit after them (Luhn)."""
    total = 0
    for place, sign in enumerate(reversed(digits)):
        doubled = int(sign) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)


def card(chance: Random) -> tuple[str, str]:
    """A scheme and a number of its own."""
    scheme = chance.choice(list(SCHEMES))
    prefixes, lengths = SCHEMES[scheme]
    start, length = chance.choice(prefixes), chance.choice(lengths)
    return scheme, checked(start + "".join(chance.choices(string.digits, k=length - 1 - len(start))))


def _grouped(number: str, gap: str) -> str:
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(number), (4, 4, 4, 4, 4))
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return gap.join(filter(None, parts))


FORMS: dict[str, Callable[[str, Random], str]] = {
    "plain": lambda n, _: n,
    "spaced": lambda n, _: _grouped(n, " "),
    "dashed": lambda n, _: _grouped(n, "-"),
    "dotted": lambda n, _: _grouped(n, "."),
    "slashed": lambda n, _: _grouped(n, "/"),
    "underscored": lambda n, _: _grouped(n, "_"),
    "each digit apart": lambda n, _: " ".join(n),
    "two spaces": lambda n, _: _grouped(n, "  "),
    "on lines": lambda n, _: _grouped(n, "\n"),
    "tabs": lambda n, _: _grouped(n, "\t"),
    "no-break spaces": lambda n, _: _grouped(n, "\u00a0"),
    "thin spaces": lambda n, _: _grouped(n, "\u2009"),
    "zero-width": lambda n, _: _grouped(n, "\u200b"),
    "en dashes": lambda n, _: _grouped(n, "\u2013"),
    "in a sentence": lambda n, c: f"please charge {_grouped(n, c.choice(' -'))}, exp 12/29",
    "letters touch it": lambda n, c: c.choice("kxzPQ") + n + c.choice("kxzPQ"),
    "after an underscore": lambda n, _: f"tok_{n}",
    "with expiry and code": lambda n, _: f"{n} 12/29 123",
    "with expiry glued on": lambda n, c: (
        n + f"{c.randint(1, 12):02}{c.randint(26, 39)}" if len(n) == 16 else n
    ),
    "zeros in front": lambda n, _: "000" + n,
    "query": lambda n, _: f"https://shop.example/?card={n}&x=1",
    "query with spaces": lambda n, _: "card=" + _grouped(n, "+"),
    "url-encoded": lambda n, _: quote(_grouped(n, " ")),
    "every sign url-encoded": lambda n, _: "".join(f"%{ord(sign):02X}" for sign in n),
    "url-encoded twice": lambda n, _: quote(quote(_grouped(n, " "))),
    "full width": lambda n, _: n.translate({48 + i: 0xFF10 + i for i in range(10)}),
    "Arabic digits": lambda n, _: n.translate({48 + i: 0x0660 + i for i in range(10)}),
    "Devanagari digits": lambda n, _: n.translate({48 + i: 0x0966 + i for i in range(10)}),
    "escapes": lambda n, _: "".join(f"\\u{ord(sign):04x}" for sign in n),
    "character references": lambda n, _: "".join(f"&#{ord(sign)};" for sign in n),
    "JSON": lambda n, _: json.dumps({"card": {"number": n}}),
    "JSON number": lambda n, _: '{"a": ' + n + "}",
    "JSON in JSON": lambda n, _: json.dumps({"a": json.dumps([json.dumps({"b": n})])}),
    "XML": lambda n, _: f"<card><pan>{n}</pan></card>",
    "base64": lambda n, _: base64.b64encode(n.encode()).decode(),
    "in base64": lambda n, c: base64.b64encode(f"{'abc'[: c.randint(0, 3)]}card {n} ok".encode()).decode(),
    "JSON in base64": lambda n, _: base64.b64encode(json.dumps({"pan": n}).encode()).decode(),
    "hexadecimal": lambda n, _: n.encode().hex(),
    "track 1": lambda n, _: f"%B{n}^DOE/JOHN^29121010000000000000?",
    "track 2": lambda n, _: f";{n}=29121010000000000?",
}


def security_code(chance: Random) -> tuple[str, str]:
    """What a form calls a security code, and one."""
    name = chance.choice(
        ("cvv", "cvc", "CVV2", "cvc2", "card_cvv", "securityCode", "card_security_code", "cardCvc")
    )
    return name, "".join(chance.choices(string.digits, k=chance.choice((3, 4))))


def _digits(chance: Random, count: int) -> str:
    return "".join(chance.choices(string.digits, k=count))


def _not_checked(chance: Random) -> str:
    number = card(chance)[1]
    return number[:-1] + str((int(number[-1]) + chance.randint(1, 9)) % 10)


def _ean(chance: Random) -> str:
    digits = chance.choice(("400", "301", "501", "590", "871")) + _digits(chance, 9)
    total = sum(int(sign) * (3 if place % 2 else 1) for place, sign in enumerate(digits))
    return digits + str(-total % 10)


def _iban(chance: Random) -> str:
    account = _digits(chance, 18)
    plain = f"DE{98 - int(account + '131400') % 97:02}{account}"
    return " ".join(plain[i : i + 4] for i in range(0, 22, 4)) if chance.random() < 0.5 else plain


LOOKALIKES: dict[str, Callable[[Random], tuple[str, str]]] = {
    "wrong check digit": lambda c: ("note", _not_checked(c)),
    "UUID": lambda c: ("basket", str(uuid.UUID(int=c.getrandbits(128), version=4))),
    "hash": lambda c: ("digest", f"{c.getrandbits(256):064x}"),
    "object id": lambda c: ("id", f"{c.getrandbits(96):024x}"),
    "traceparent": lambda c: ("trace", f"00-{c.getrandbits(128):032x}-{c.getrandbits(64):016x}-01"),
    "milliseconds": lambda c: ("at", str(c.randint(1_600_000_000_000, 1_999_999_999_999))),
    "microseconds": lambda c: ("at", str(c.randint(1_600_000_000_000_000, 1_999_999_999_999_999))),
    "time": lambda c: (
        "at",
        f"2026-{c.randint(1, 12):02}-{c.randint(1, 28):02} 18.{c.randint(0, 59):02}.07.123456",
    ),
    "snowflake": lambda c: ("id", str(c.randint(10**18, 2 * 10**18))),
    "order number": lambda c: ("order", f"2026{_digits(c, 8)}"),
    "telephone": lambda c: (
        "phone",
        "+" + c.choice(("49151", "4479", "336", "4670", "3706")) + _digits(c, 8),
    ),
    "fraction": lambda c: ("score", repr(c.random())),
    "coordinates": lambda c: ("at", f"{c.uniform(-90, 90)!r},{c.uniform(-180, 180)!r}"),
    "IBAN": lambda c: ("iban", _iban(c)),
    "EAN": lambda c: ("ean", _ean(c)),
    "IP address": lambda c: ("ip", ".".join(str(c.randint(100, 255)) for _ in range(4))),
    "Stripe id": lambda c: ("pi", "pi_3" + "".join(c.choices(string.ascii_letters + string.digits, k=23))),
    "PayPal id": lambda c: ("capture", "".join(c.choices(string.ascii_uppercase + string.digits, k=17))),
    "Adyen reference": lambda c: (
        "pspReference",
        "".join(c.choices(string.ascii_uppercase + string.digits, k=16)),
    ),
    "older Adyen reference": lambda c: ("psp", c.choice(("85", "88", "79", "99")) + _digits(c, 14)),
    "network reference": lambda c: ("networkTxReference", _digits(c, 15)),
    "acquirer reference": lambda c: ("arn", "74" + _digits(c, 21)),
    "amounts": lambda c: ("sums", json.dumps([c.randint(1, 99999) for _ in range(8)])),
    "base64": lambda c: ("blob", base64.b64encode(c.randbytes(48)).decode()),
    "last four": lambda c: ("card", f"Visa ending {_digits(c, 4)}, 12/2029"),
}
"""What only looks like a card number, by kind: the name of its field, and its value."""

UNTELLABLE = "any 16 digits"
"""Nobody can tell these from a card number where they have its prefix and check digit: they are counted apart."""


def any_sixteen_digits(chance: Random) -> str:
    """A number of 16 digits, as some shops number their orders."""
    return str(chance.randint(10**15, 10**16 - 1))
