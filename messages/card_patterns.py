"""How card data looks in text: digits and what may stand between them, security codes by name, tracks by form.

And how it does not look: identifiers with digits in them that are no card's, recognised by a form of their own.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from urllib.parse import unquote

from messages.card_schemes import LONGEST, SHORTEST, possible_lengths, scheme_of

_SEPARATORS = " \t\r\n\x00-._/+"
"""What may stand between the digits of one number. Zero bytes: text in UTF-16 that is read as if it were not."""

_GAP = f"[{re.escape(_SEPARATORS)}]{{0,4}}"
_RUN = re.compile(rf"[0-9](?:{_GAP}[0-9]){{{SHORTEST - 1},}}")
_GROUP = re.compile("[0-9]+")

SECURITY_CODE_NAME = re.compile(
    r"(?:cvv2?|cvc2?|cvn2?|csc|securitycode|cardverification(?:code|number|value))$"
)
"""How the name of a field ends that holds one; the name as `name_of` gives it."""

SECURITY_CODE = re.compile(
    r"(?:(?<![a-z0-9])|(?-i:(?<=[a-z])(?=[CS])))"  # a word of its own, or begun by a capital: chance makes others
    r"(?:cvv2?|cvc2?|cvn2?|csc|(?:card[ _-]?)?security[ _-]?code|card[ _-]?verification[ _-]?(?:code|number|value))"
    r"[\"'\\\]\)>]{0,4}\s{0,4}(?::|=>?|is\s|#|-)?\s{0,4}[\"'\\]{0,4}(?P<code>[0-9]{3,4})(?![0-9a-z])",
    re.IGNORECASE,
)

_CARET = r"(?:\^|%5[Ee])"
TRACK = re.compile(
    # ISO/IEC 7813. Track 1: number^name^expiry, service code and the rest; track 2: number=expiry, service code …
    rf"(?:%25|%)?[A-Z][0-9]{{8,19}}{_CARET}[^^\n]{{2,26}}{_CARET}[0-9^]{{4}}[0-9A-Z^ ]*(?:%3[Ff]|\?)?"
    r"|(?:%3[Bb]|;)?(?<![0-9])[0-9]{12,19}(?:=|%3[Dd]|D)[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{3,}(?:%3[Ff]|\?)?"
)

_IDENTIFIER = re.compile(
    r"(?<![0-9a-f])(?:"
    r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"  # traceparent (www.w3.org/TR/trace-context)
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # UUID (RFC 9562)
    r"|[0-9a-f]{24}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128}"  # object ids and hashes
    r")(?![0-9a-f])",
    re.IGNORECASE,
)
_LETTERS_LEAST = 3
"""Letters in an identifier: one with fewer would be a number that is called an identifier."""

_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
)
_FRACTION = re.compile(r"(?<![0-9.])[0-9]{1,3}\.[0-9]{9,}(?![0-9.eE])")
"""A score or a coordinate as programs write it. With an exponent it may be a long number that has become a float."""
_TELEPHONE = re.compile(r"(?<![0-9A-Za-z])\+$")
_TELEPHONE_LONGEST = 13

_REFERENCES = {
    **dict.fromkeys(
        (
            "networktxreference",  # docs.adyen.com/online-payments/tokenization
            "networktransactionid",  # docs.stripe.com/api/charges/object, payment_method_details.card
            "networktransactionreference",  # developer.paypal.com/docs/api/orders/v2
            "previousnetworktransactionreference",
            "schemetransactionid",
        ),
        re.compile("[0-9]{15}"),  # Visa's and Amex's are numbers of 15 digits, and may begin as Amex cards do
    ),
    **dict.fromkeys(
        (
            "pspreference",
            "originalreference",
            "paymentpspreference",
            "firstpspreference",
            "storedpaymentmethodid",
            "recurringdetailreference",
        ),
        re.compile("[789][0-9]{15}"),  # Adyen's older ones; the newer have letters in them
    ),
    **dict.fromkeys(("arn", "acquirerreferencenumber", "acquirerreference"), re.compile("[0-9]{23}")),
    **dict.fromkeys(("ean", "gtin", "upc", "isbn", "barcode"), re.compile("[0-9]{12,14}")),
}
"""Fields of gateways that hold numbers which may look like a card's, and the form these have."""
_ARTICLES = frozenset(("ean", "gtin", "upc", "isbn", "barcode"))

_ESCAPED = re.compile(r"\\{1,8}(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|u\{0{0,2}([0-9a-fA-F]{1,4})\}|[nrt])")
_LAYERS = 4
HEX_DIGITS = re.compile(rf"(?<![0-9])(?:3[0-9]){{{SHORTEST},{LONGEST}}}(?![0-9])")

BASE64_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
BASE64_DIGITS = re.compile("[MNO][DTjz][AEIMQUYcgk][w-z0-5]")
"""Three digits in a row, as base64 writes them (RFC 4648, 4) where they begin at a multiple of three bytes."""

_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SEPARATOR_BYTES = _SEPARATORS.encode()
_RUN_OF_ZEROS = b"0" * SHORTEST
_BASE64_DIGITS = re.compile(BASE64_DIGITS.pattern.encode())


def may_hold_card_data(raw: bytes) -> bool:
    """Whether it is worth a look: false for nearly every message, and told in microseconds."""
    if _is_worth_a_look(raw):
        return True
    if raw.isascii() and not (b"%" in raw or b"\\" in raw or b"&" in raw):
        return False
    return _is_worth_a_look(_unwrapped(raw.decode(errors="replace")).encode(errors="replace"))


def _is_worth_a_look(raw: bytes) -> bool:
    """Whether there are enough digits in a row, as they are or in base64, or a word that names a security code."""
    if _RUN_OF_ZEROS in raw.translate(_DIGITS_AS_ZERO, _SEPARATOR_BYTES):
        return True
    lowered = raw.lower()
    return (
        b"cvv" in lowered
        or b"cvc" in lowered
        or b"cvn" in lowered
        or b"csc" in lowered
        or b"curity" in lowered
        or b"verification" in lowered
        or _BASE64_DIGITS.search(raw) is not None
    )


def _unwrapped(text: str) -> str:
    for _ in range(_LAYERS):
        plain = unescaped(text)
        if plain == text:
            break
        text = plain
    return levelled(text)


def unescaped(text: str) -> str:
    """Without percent signs, backslashes and character references, one layer."""
    if "\\" in text:
        text = _ESCAPED.sub(_sign_of, text)
    if "%" in text:
        text = unquote(text, errors="replace")
    if "&" in text:
        text = html.unescape(text)
    return text


def _sign_of(escaped: re.Match[str]) -> str:
    code = escaped[1] or escaped[2] or escaped[3]
    return chr(int(code, 16)) if code else " "


def levelled(text: str) -> str:
    """Every digit of any script as 0 to 9, every space and dash as one of ours; as long as the text."""
    return text if text.isascii() else re.sub(r"[^\x00-\x7f]", lambda found: _level(found[0]), text)


@lru_cache(1024)
def _level(sign: str) -> str:
    digit = unicodedata.digit(sign, None)
    if digit is not None:
        return str(digit)
    is_a_gap = (
        unicodedata.category(sign) in ("Zs", "Zl", "Zp", "Pd", "Cf")
        or sign in "\u00b7\u2022\u2027\u2212\ufffd"
    )
    return " " if is_a_gap else sign


def name_of(name: str) -> str:
    """A field's name without its fashion: `recurring.networkTxReference` as `networktxreference`."""
    return re.sub("[^a-z0-9]", "", name.rpartition(".")[2].lower())


def card_numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """Where each card number begins and ends, and its scheme; the text is `levelled`."""
    identifiers: list[tuple[int, int]] | None = None
    for run in _RUN.finditer(text):
        if identifiers is None:
            identifiers = list(_identifiers(text))
        over = 0
        for start, stop, scheme in _numbers_in(
            text, [group.span() for group in _GROUP.finditer(text, *run.span())]
        ):
            is_identifier = any(begin < stop and start < end for begin, end in identifiers)
            if start >= over and not is_identifier and not _is_a_telephone_number(text, start, stop):
                yield start, stop, scheme
                over = stop


def _numbers_in(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Card numbers among groups of digits, the longest first: each begins and ends where a group does."""
    digits = "".join(text[start:stop] for start, stop in groups)
    ends = dict(
        zip(accumulate(stop - start for start, stop in groups), (stop for _, stop in groups), strict=True)
    )
    at = 0
    for start, stop in groups:
        for length in possible_lengths(digits[at : at + 2]):
            if at + length in ends and (scheme := scheme_of(digits[at : at + length])) is not None:
                yield start, ends[at + length], scheme
        if stop - start > SHORTEST and (scheme := _scheme_within(text[start:stop])) is not None:
            yield start, stop, scheme
        at += stop - start


def _scheme_within(digits: str) -> str | None:
    """A number that was filled up with zeros in front, or has its expiry date and perhaps a code stuck to it."""
    if digits.startswith("0"):
        return scheme_of(digits.lstrip("0"))
    for length in (16, 15, 14):
        rest = digits[length:]
        if len(rest) in (4, 7, 8) and _EXPIRY.match(rest):
            return scheme_of(digits[:length])
    return None


_EXPIRY = re.compile("(?:0[1-9]|1[0-2])[2-4][0-9]|[2-4][0-9](?:0[1-9]|1[0-2])")
"""A month and a year of this half of the century, in either order."""


def _is_a_telephone_number(text: str, start: int, stop: int) -> bool:
    length = sum(map(str.isdigit, text[start:stop]))
    return length <= _TELEPHONE_LONGEST and _TELEPHONE.search(text, max(start - 2, 0), start) is not None


def _identifiers(text: str) -> Iterator[tuple[int, int]]:
    for identifier in _IDENTIFIER.finditer(text):
        if sum(map(str.isalpha, identifier[0])) >= _LETTERS_LEAST:
            yield identifier.span()
    for fraction in _FRACTION.finditer(text):
        yield fraction.span()
    for account in _IBAN.finditer(text):
        if is_iban(account[0]):
            yield account.span()


def is_iban(text: str) -> bool:
    """Whether the check digits of an international bank account number are right (ISO 13616, mod 97)."""
    plain = text.replace(" ", "").replace("-", "")
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def is_a_known_reference(name: str, whole: str) -> bool:
    """Whether a field of this name holds such numbers, none of them a card's, and this is one by its form."""
    plain = name_of(name)
    form = _REFERENCES.get(plain)
    if form is None or form.fullmatch(whole) is None:
        return False
    return plain not in _ARTICLES or _is_article_number(whole)


def _is_article_number(digits: str) -> bool:
    """Whether the check digit is right (GS1 General Specifications, 7.9: weights 3 and 1 from the right)."""
    return (sum(map(int, digits[-1::-2])) + 3 * sum(map(int, digits[-2::-2]))) % 10 == 0
