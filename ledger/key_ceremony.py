"""What is done with keys, step by step, each step with a line in the audit log: made, current, retired."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime

from ledger import keys
from ledger.bulk import PostgresBulk
from ledger.errors import Conflict, LedgerError
from ledger.key_uses import count_uses
from ledger.ledger import Ledger
from ledger.records import AuditLine, Changes, Wanted

TURNS_END_WITHIN_S = 150.0
"""No turn lasts longer: no statement may take more than a minute, nor may a transaction stand idle for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who changes a key, and why; written into the audit log."""

    actor: str
    reason: str


class KeyInUse(LedgerError):
    """The key cannot be retired; the text says what keeps it."""


def make_current(ledger: Ledger, key_id: str, *, asker: Asker, now: datetime) -> None:
    """Have every worker encrypt with a key from its next turn on, and wait for the turns that began before.

    Raises:
        LedgerError: the key is not here, is retired, or the database is out of reach.
    """
    if ledger.keyring.find(key_id) is None:
        raise LedgerError(f"there is no key {key_id} here")
    with ledger.turn() as turn:
        turn.load(Wanted())
        known = turn.key_register()
        if known.get(key_id) == "retired":
            raise LedgerError(f"key {key_id} is retired: make a new one with `payments keys new`")
        if known.get(key_id) != "current":
            turn.keep_key(key_id, "current", now=now)
            line = audit_line(asker, "KeyMadeCurrent", key_id, "current", now, earlier=sorted(known))
            turn.write(Changes(audit=[line]))
    wait_for_turns(ledger)


def wait_for_turns(ledger: Ledger) -> None:
    """Return when every turn that was under way has ended: those that follow know the register as it is now.

    A turn reads the register and thereby keeps a share of its lock (PostgreSQL manual, 13.3.1) until it ends.

    Raises:
        LedgerError: one does not end.
    """
    until = time.monotonic() + TURNS_END_WITHIN_S
    while True:
        try:
            with ledger.upkeep(writes=True) as bulk:
                if isinstance(bulk, PostgresBulk):
                    # Briefly: whoever begins a turn now waits behind us.
                    bulk.query("SET LOCAL lock_timeout = '500ms'")
                    bulk.query("LOCK TABLE encryption_keys IN ACCESS EXCLUSIVE MODE")
            return
        except Conflict:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def retire(ledger: Ledger, key_id: str, *, asker: Asker, now: datetime) -> None:
    """Note that a key is needed no more; its files may be removed then.

    Raises:
        KeyInUse: it is current, or something is still encrypted with it.
        LedgerError: the key was never in use, or the database is out of reach.
    """
    with ledger.upkeep(writes=False) as bulk:
        state = keys.register(bulk).get(key_id)
    if state is None:
        raise LedgerError(f"key {key_id} was never in use: `payments keys list` shows those that are")
    if state == "current":
        raise KeyInUse(
            f"key {key_id} is current: make another one current first, with `payments keys rotate`"
        )
    wait_for_turns(ledger)
    with ledger.upkeep(writes=False) as bulk:
        encrypted_with_it = [use for use in count_uses(bulk) if use.key_id == key_id]
    if encrypted_with_it:
        where = ", ".join(f"{use.count} in {use.place}" for use in encrypted_with_it)
        raise KeyInUse(
            f"values are still encrypted with key {key_id} ({where}): run `payments keys rotate` first"
        )
    with ledger.turn() as turn:
        turn.load(Wanted())
        turn.keep_key(key_id, "retired", now=now)
        turn.write(Changes(audit=[audit_line(asker, "KeyRetired", key_id, "retired", now)]))


def record_new(ledger: Ledger, key_id: str, *, asker: Asker, now: datetime) -> None:
    """Note in the audit log that a key was made.

    Raises:
        LedgerError: it could not be noted.
    """
    record(ledger, audit_line(asker, "KeyMade", key_id, "made", now))


def record(ledger: Ledger, line: AuditLine) -> None:
    """Write a line into the audit log.

    Raises:
        LedgerError: it could not be written.
    """
    with ledger.turn() as turn:
        turn.load(Wanted())
        turn.write(Changes(audit=[line]))


def audit_line(
    asker: Asker, action: str, key_id: str, result: str, now: datetime, **details: object
) -> AuditLine:
    """The line that tells of a step of the ceremony. It names the key and never holds it."""
    return AuditLine(
        actor=asker.actor,
        action=action,
        payment_id=None,
        subject=key_id,
        cause="payments keys",
        result=result,
        details=json.dumps({"reason": asker.reason, **details}, sort_keys=True, separators=(",", ":")),
        happened_at=now,
    )
