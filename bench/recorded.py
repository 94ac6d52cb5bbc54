"""The service's own SQL, written down while it works, for pgbench to send without the service.

A steady turn settles three generations of payments: it marks the events of the oldest, books the answers of the
second, and takes the commands of the youngest. Three turns are run and recorded; the first two prepare the ground
for each of pgbench's clients, and the third is sent over and over, with the generations' numbers counted up.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.contenders import OURS, commands, line
from bench.measure import Servers, place
from bench.our_worker import PatientGateway
from consumers.delivery import Delivery
from consumers.inbound import Command, read
from consumers.turn import Result, Work, run_turn
from gateways.protocol import Approved, AuthorizeRequest
from handlers.decision import Answered, Call, Policy
from ledger.bulk import PostgresBulk
from ledger.encryption import Key, Keyring
from ledger.engine import BY_KEY, POSTGRES_OPTIONS
from ledger.ledger import Turn

BATCH = 200
CLIENTS = 2
_POLICY = Policy(default_gateway="bench", gateways={"bench": PatientGateway.capabilities})
_KEYRING = Keyring(lambda: [Key(bytes(32))])
_POSITIONS = 10_000
"""Audit lines a turn may write: each turn begins at the next multiple."""


@dataclass(slots=True)
class Recorder:
    """A psycopg connection that writes down what it is asked to do."""

    connection: psycopg.Connection[Any]
    statements: list[str] = field(default_factory=list)

    def execute(self, query: str | bytes, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Write down, and do it."""
        text = query.decode() if isinstance(query, bytes) else query
        self.statements.append(_for_pgbench(text, values, self.connection))
        return self.connection.execute(query, values)

    def pipeline(self) -> AbstractContextManager[Any]:
        """As psycopg's."""
        return self.connection.pipeline()


class RecordedLedger:
    """Gives turns whose SQL is written down."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        self.statements: list[str] = []

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """One transaction."""
        with psycopg.connect(self.url, options=f"{POSTGRES_OPTIONS}{BY_KEY}") as connection:
            recorder = Recorder(connection)
            yield Turn(PostgresBulk(recorder), _KEYRING)  # type: ignore[arg-type]
            self.statements = recorder.statements


def pgbench_per_s(servers: Servers, *, seconds: int = 8) -> float:
    """Payments per second that pgbench brings through PostgreSQL with our statements."""
    with place(servers, OURS) as where:
        script, prepare = _record(where.plain_database_url)
    with place(servers, OURS) as where, tempfile.TemporaryDirectory() as directory:
        for client in range(CLIENTS):
            with psycopg.connect(where.plain_database_url) as connection:
                for statement in _numbered(prepare, client):
                    connection.execute(statement)
        path = Path(directory) / "turn.sql"
        path.write_text(script)
        return _run(path, where.plain_database_url, seconds) * BATCH


def _record(database_url: str) -> tuple[str, list[str]]:
    """Run three turns; returns pgbench's script, and the statements that go before it."""
    ledger = RecordedLedger(database_url)
    prepare: list[str] = []
    first = _turn(ledger, _asked("aaa"), [])
    prepare += ledger.statements
    second = _turn(ledger, [*_answered(first.calls), *_asked("bbb")], [])
    prepare += ledger.statements
    marks = [event.key for event in second.events]
    _turn(ledger, [*_answered(second.calls), *_asked("ccc")], marks)
    counted = (
        "\\set n :n + 1\n\\set c :client_id * 1000000 + :n\n\\set b :c - 1\n\\set a :c - 2\n"
        f"\\set p :n * {_POSITIONS}\n"
    )
    body = "".join(f"{statement};\n" for statement in ledger.statements)
    return f"{counted}BEGIN;\n{body}COMMIT;\n", prepare


def _turn(ledger: RecordedLedger, work: list[Work], marks: list[Any]) -> Result:
    now = datetime.now(UTC)
    return run_turn(ledger, work, policy=_POLICY, now=now, confirmed=marks, ours=set(marks))  # type: ignore[arg-type]


def _asked(generation: str) -> list[Work]:
    work = []
    for command in commands(BATCH, prefix=generation):
        of = line(command)
        delivery = Delivery(
            queue="",
            exchange="",
            routing_key="",
            body=of.data,
            headers=of.headers(),
            content_type="application/json",
            message_id=of.id,
            correlation_id=None,
            reply_to=None,
            type=of.type,
            app_id=None,
            redelivered=False,
            tag=0,
            generation=0,
        )
        taken = read(delivery, {})
        assert isinstance(taken, Command)
        work.append(Work(happening=taken.asked))
    return work


def _answered(calls: Sequence[Call]) -> list[Work]:
    work = []
    for call in calls:
        assert isinstance(call.request, AuthorizeRequest)
        answer = Approved(reference=f"ch_{call.attempt_id}", amount=call.request.amount)
        work.append(
            Work(
                happening=Answered(
                    payment_id=call.payment_id,
                    attempt_id=call.attempt_id,
                    call_number=call.call_number,
                    answer=answer,
                    is_lookup=False,
                )
            )
        )
    return work


def _for_pgbench(text: str, values: Sequence[Any], connection: psycopg.Connection[Any]) -> str:
    """One statement with its values in it; the audit chain's places are left to be counted."""
    if text.startswith("SELECT shard, position, hash"):
        return text.replace(
            " ORDER BY shard LIMIT 1 FOR UPDATE SKIP LOCKED", " WHERE shard = :client_id FOR UPDATE"
        )
    parts = text.split("%s")
    written = [_counted(psycopg.sql.Literal(value).as_string(connection)) for value in values]
    if text.startswith("INSERT INTO audit ("):
        count = values[0].count(",") + 1
        written[0] = f"(SELECT array_agg(:client_id) FROM generate_series(1, {count}))"
        written[1] = f"(SELECT array_agg(:p + g) FROM generate_series(1, {count}) g)"
    elif text.startswith("UPDATE audit_heads"):
        written[0], written[1] = "ARRAY[:client_id]", "ARRAY[:p]"
    return parts[0] + "".join(value + part for value, part in zip(written, parts[1:], strict=True))


def _counted(literal: str) -> str:
    """A value in which the server fills in the generations' numbers: pgbench itself is slow at many places."""
    for name in ("aaa", "bbb", "ccc"):
        if f"-{name}-" in literal:
            literal = f"replace({literal}, '-{name}-', '-' || :{name[0]} || '-')"
    return literal


def _numbered(statements: list[str], client: int) -> Iterator[str]:
    """The two turns that go before, as pgbench's client would have sent them: its generations 0 and 1."""
    places = 0
    for statement in statements:
        if statement.startswith("INSERT INTO audit ("):
            places += 1_000
        text = re.sub(r":client_id\b", str(client), statement)
        text = re.sub(r":p\b", str(places), text)
        for name, generation in (("a", 0), ("b", 1)):
            text = re.sub(rf":{name}\b", str(client * 1_000_000 + generation), text)
        yield text


def _run(script: Path, database_url: str, seconds: int) -> float:
    """Transactions per second."""
    parts = urlsplit(database_url)
    environment = {
        **os.environ,
        "PGPASSWORD": parts.password or "",
        "PGOPTIONS": f"{POSTGRES_OPTIONS}{BY_KEY}",
    }
    argv = ["pgbench", "--no-vacuum", "--define", "n=1", "--file", str(script)]
    argv += ["--client", str(CLIENTS), "--jobs", str(CLIENTS), "--time", str(seconds)]
    argv += ["--host", parts.hostname or "", "--port", str(parts.port), "--username", parts.username or ""]
    done = subprocess.run(
        [*argv, parts.path.lstrip("/")], env=environment, capture_output=True, text=True, check=False
    )
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench failed: {done.stderr[-500:]}")
    return float(found[1])
