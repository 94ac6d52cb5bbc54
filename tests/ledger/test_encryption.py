"""Encryption: what is encrypted opens in its own row with its own key, whole, and nowhere else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from ledger.encryption import MARK_LENGTH, Encrypter, Key, Keyring, key_of, mark_of
from ledger.errors import CannotDecrypt, KeyMissing

PLACE = "payments.request"
TOKEN = "pm_1PgafmB7WZ01zgkW6dKueIc5"
FIRST, SECOND = Key(b"1" * 32), Key(b"2" * 32)


def encrypter(*keys: Key, current: Key = FIRST) -> Encrypter:
    return Encrypter(Keyring(lambda: keys), lambda: current.key_id)


def encrypted(value: str = TOKEN, *, name: str = "pay_1", place: str = PLACE) -> str:
    return next(FIRST.encrypt(place, [name], [value]))


def test_what_was_encrypted_opens_in_its_row() -> None:
    names = ["pay_1", "pay_2", "pay_3"]
    values = [TOKEN, "", "žluťoučký 💳"]

    stored = encrypter(FIRST).encrypt(PLACE, names, values)

    assert encrypter(SECOND, FIRST, current=SECOND).decrypt(PLACE, names, stored) == values


def test_a_encrypted_value_shows_its_key_and_nothing_of_itself() -> None:
    stored = encrypted()

    assert stored.startswith(mark_of(FIRST.key_id))
    assert key_of(stored) == FIRST.key_id
    assert TOKEN not in stored
    assert TOKEN.encode() not in urlsafe_b64decode(stored[MARK_LENGTH:])


def test_any_flipped_bit_is_found() -> None:
    stored = encrypted("x")
    content = bytearray(urlsafe_b64decode(stored[MARK_LENGTH:]))

    for bit in range(len(content) * 8):
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotDecrypt):
            FIRST.decrypt(PLACE, "pay_1", stored[:MARK_LENGTH] + urlsafe_b64encode(content).decode())
        content[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize(
    ("place", "name"), [(PLACE, "pay_2"), ("payments.request_hash", "pay_1"), ("refunds.request", "pay_1")]
)
def test_a_value_that_was_moved_does_not_open(place: str, name: str) -> None:
    with pytest.raises(CannotDecrypt, match=f"{name}.*key {FIRST.key_id}.*was changed, or moved"):
        encrypter(FIRST).decrypt(place, [name], [encrypted()])


@pytest.mark.parametrize("garbage", ["", "A", "!!!!", "AAAA"])
def test_what_is_too_short_or_no_base64_does_not_open(garbage: str) -> None:
    with pytest.raises(CannotDecrypt):
        encrypter(FIRST).decrypt(PLACE, ["pay_1"], [mark_of(FIRST.key_id) + garbage])


def test_a_value_under_another_key_names_its_row_and_its_key() -> None:
    with pytest.raises(CannotDecrypt, match=rf"payments pay_1: request is encrypted with key {FIRST.key_id}"):
        encrypter(SECOND, current=SECOND).decrypt(PLACE, ["pay_1"], [encrypted()])


def test_without_the_current_key_everybody_waits_for_it() -> None:
    with pytest.raises(KeyMissing, match=FIRST.key_id):
        encrypter(SECOND).encrypt(PLACE, ["pay_1"], [TOKEN])
    with pytest.raises(KeyMissing, match=FIRST.key_id):
        encrypter(SECOND).decrypt(PLACE, ["pay_1"], [encrypted()])


def test_what_was_never_encrypted_is_given_as_it_is() -> None:
    values = ['{"payment_id":"pay_1"}', "", None, "5e88"]

    assert encrypter().decrypt(PLACE, ["a", "b", "c", "d"], values) == values


def test_no_nonce_comes_twice() -> None:
    stored = FIRST.encrypt(PLACE, ["pay_1"] * 20_000, [TOKEN] * 20_000)

    assert len({urlsafe_b64decode(value[MARK_LENGTH:])[:12] for value in stored}) == 20_000


def test_a_keys_id_is_its_fingerprint() -> None:
    assert Key(b"1" * 32).key_id == FIRST.key_id != SECOND.key_id


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Key(bytes(length))


def test_no_repr_shows_a_key() -> None:
    key = Key(b"geheim: nobody may ever read me!")

    assert "geheim" not in f"{key!r}{key}{Keyring(lambda: [key])!r}"


def test_a_key_that_is_added_while_we_run_is_found() -> None:
    there, now = [FIRST], [0.0]
    keyring = Keyring(lambda: there, monotonic=lambda: now[0])
    there.append(SECOND)

    assert keyring.find(SECOND.key_id) is None  # the directory is not read for every row
    now[0] += 1

    assert keyring.find(SECOND.key_id) == SECOND


def test_a_file_that_is_being_copied_is_read_the_next_time() -> None:
    there: list[Key | None] = [FIRST]
    now = [0.0]

    def read() -> list[Key]:
        if None in there:
            raise ValueError("half a file")
        return [key for key in there if key]

    keyring = Keyring(read, monotonic=lambda: now[0])
    there.append(None)
    now[0] += 1
    assert keyring.find(SECOND.key_id) is None
    there[1] = SECOND
    now[0] += 1

    assert keyring.find(SECOND.key_id) == SECOND
