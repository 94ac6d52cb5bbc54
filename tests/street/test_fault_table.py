"""Every operation, on every gateway, with everything that can go wrong with its call.

No payment ends failed that was charged, none is charged twice, and each ends in the truth, or waits for a person.
The table is printed; docs/fault-table.md keeps one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.states import AttemptState
from messages.operation import Operation
from tests.street.street import Street, street
from tests.workers import eventually

GATEWAYS = ("stripe", "adyen", "paypal")
OPERATIONS = (Operation.SALE, Operation.AUTHORIZE, Operation.CAPTURE, Operation.VOID, Operation.REFUND)
FAULTS = {
    "drop_after_executing": "answer dropped after executing",
    "drop_before": "dropped before executing",
    "error_500_before": "500 before",
    "error_500_after": "500 after",
    "html_502": "HTML 502",
    "rate_limit_429": "429",
    "slow": "slow beyond the time-out",
    "refused": "connection refused",
}
REFUSED = "refused"
PREFIX = {"stripe": "s", "adyen": "a", "paypal": "p"}
HELD_FIRST = (Operation.CAPTURE, Operation.VOID)
SLOWER_THAN_ANY_S = 4.0
"""The adapters on the street give up after two seconds."""
REFUSED_FOR_S = 1.5

GOOD = {
    Operation.SALE: "PaymentSucceeded",
    Operation.AUTHORIZE: "PaymentAuthorized",
    Operation.CAPTURE: "PaymentSucceeded",
    Operation.VOID: "PaymentVoided",
    Operation.REFUND: "RefundProcessed",
}
BAD = {
    Operation.SALE: "PaymentFailed",
    Operation.AUTHORIZE: "PaymentFailed",
    Operation.CAPTURE: "PaymentCaptureFailed",
    Operation.VOID: "PaymentVoidFailed",
    Operation.REFUND: "RefundFailed",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One operation on one gateway, with one fault."""

    gateway: str
    operation: Operation
    fault: str

    @property
    def payment_id(self) -> str:
        """Its own payment."""
        return f"{PREFIX[self.gateway]}-{self.operation}-{self.fault.replace('_', '-')}"

    @property
    def attempt_id(self) -> str:
        """The idempotency key of the call that goes wrong."""
        match self.operation:
            case Operation.SALE | Operation.AUTHORIZE:
                return f"{self.payment_id}.a1"
            case Operation.CAPTURE:
                return f"c-{self.payment_id}.c1"
            case Operation.VOID:
                return f"{self.payment_id}.a2"
            case Operation.REFUND:
                return f"r-{self.payment_id}.r1"

    def prepare(self, on: Street) -> None:
        """What must be there before the operation."""
        if self.operation in HELD_FIRST:
            on.pay(self.gateway, self.payment_id, capture="manual")
        if self.operation is Operation.REFUND:
            on.pay(self.gateway, self.payment_id)

    def is_prepared(self, on: Street) -> bool:
        """Whether it is there."""
        kinds = on.kinds(self.payment_id)
        if self.operation in HELD_FIRST:
            return "PaymentAuthorized" in kinds
        return self.operation is not Operation.REFUND or "PaymentSucceeded" in kinds

    def go(self, on: Street) -> None:
        """Ask for the operation."""
        if self.fault != REFUSED:
            control = on.gateways[self.gateway].control
            control.arm(self.fault, seconds=SLOWER_THAN_ANY_S, match={"idempotency_key": self.attempt_id})
        match self.operation:
            case Operation.SALE:
                on.pay(self.gateway, self.payment_id)
            case Operation.AUTHORIZE:
                on.pay(self.gateway, self.payment_id, capture="manual")
            case Operation.CAPTURE:
                on.capture(f"c-{self.payment_id}", self.payment_id)
            case Operation.VOID:
                on.void(self.payment_id)
            case Operation.REFUND:
                on.refund(f"r-{self.payment_id}", self.payment_id)

    def ending(self, on: Street) -> str | None:
        """`came through`, `failed` or `a person`; None while it is under way."""
        kinds = on.kinds(self.payment_id)
        if GOOD[self.operation] in kinds:
            return "came through"
        if BAD[self.operation] in kinds:
            return "failed"
        return "a person" if on.story(self.payment_id).payment.attention else None

    def judged(self, on: Street) -> str:
        """Compare how it ended with what the gateway really did, and say both."""
        ending = self.ending(on)
        moved = [move for move in on.moved(self.gateway, self.payment_id) if move[0] == self.operation]
        assert len(moved) <= 1, f"{self}: {moved}"
        if ending == "came through":
            assert moved, f"{self}: announced, and never executed"
        if ending == "failed":
            assert not moved, f"{self}: called failed, and it was executed"
        attempt = next(a for a in on.story(self.payment_id).attempts if a.attempt_id == self.attempt_id)
        if attempt.state is not AttemptState.SUCCEEDED:
            return str(ending)
        if attempt.tries > 1:
            return f"{ending}: sent again"
        return f"{ending}: looked up" if attempt.inquiries else f"{ending}: told by its callback"


CELLS = [
    Cell(gateway=gateway, operation=operation, fault=fault)
    for gateway in GATEWAYS
    for operation in OPERATIONS
    for fault in FAULTS
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, str]:
    directory = tmp_path_factory.mktemp("faults")
    # One fault at a time is what the table is about: with all of them at once the circuits would open.
    with street(directory, PAYMENTS_WORKER__BREAKER_FAILURES="1000") as place:
        for cell in CELLS:
            cell.prepare(place)
        eventually(lambda: all(c.is_prepared(place) for c in CELLS), within_s=90, what="all is prepared")
        for cell in CELLS:
            if cell.fault != REFUSED:
                cell.go(place)
        others = [cell for cell in CELLS if cell.fault != REFUSED]
        eventually(lambda: _all_ended(others, place), within_s=120, what="every cell has ended")
        for gateway in place.gateways.values():
            gateway.door.shut()
        for cell in CELLS:
            if cell.fault == REFUSED:
                cell.go(place)
        time.sleep(REFUSED_FOR_S)  # for so long there is nobody: the length of the fault itself
        for gateway in place.gateways.values():
            gateway.door.open()
        eventually(lambda: _all_ended(CELLS, place), within_s=120, what="every refused cell has ended")
        result = {cell: cell.judged(place) for cell in CELLS}
        assert place.problems() == []
    print("\n" + as_markdown(result))
    return result


def _all_ended(cells: list[Cell], place: Street) -> bool:
    unended = [cell for cell in cells if cell.ending(place) is None]
    return not unended


def as_markdown(table: dict[Cell, str]) -> str:
    """The table as docs/fault-table.md keeps it."""
    lines = ["| gateway | operation | " + " | ".join(FAULTS.values()) + " |"]
    lines.append("|---" * (len(FAULTS) + 2) + "|")
    for gateway in GATEWAYS:
        for operation in OPERATIONS:
            endings = (table[Cell(gateway=gateway, operation=operation, fault=fault)] for fault in FAULTS)
            lines.append(f"| {gateway} | {operation} | " + " | ".join(endings) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.payment_id)
def test_whatever_goes_wrong_with_the_call_it_ends_in_the_truth(cell: Cell, table: dict[Cell, str]) -> None:
    assert table[cell].split(":")[0] in ("came through", "failed", "a person")


def test_the_table_that_the_docs_keep_has_the_same_rows_and_columns(table: dict[Cell, str]) -> None:
    kept = (Path(__file__).parents[2] / "docs" / "fault-table.md").read_text()

    def frame(text: str) -> list[list[str]]:
        rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
        return [
            [cell.strip() for cell in (row[1:-1] if number == 0 else row[1:3])]
            for number, row in enumerate(rows)
        ]

    assert frame(kept) == frame(as_markdown(table))
