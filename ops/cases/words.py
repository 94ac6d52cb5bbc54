"""What each kind of case is, in plain words, and where the runbook says what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.case_facts import CaseKind


@dataclass(frozen=True, slots=True)
class Words:
    """What to tell a person."""

    what: str
    next: str
    section: str = "needsaperson"

    @property
    def runbook(self) -> str:
        """The section of the runbook."""
        return f"docs/runbook.md#{self.section}"


WORDS = {
    CaseKind.UNKNOWN: Words(
        "nobody knows whether it was executed",
        "look it up in the gateway's dashboard by its id; never charge anew while it stands",
        "outcomeunknownforlong",
    ),
    CaseKind.UNHEARD: Words(
        "the gateway took it, and was not heard of again",
        "look it up in the gateway's dashboard, and see that its callbacks come",
        "outcomeunknownforlong",
    ),
    CaseKind.MISMATCH: Words(
        "the gateway's word differs from ours", "compare with the gateway's dashboard: what moved, moved"
    ),
    CaseKind.CALLBACK: Words(
        "a callback fits nothing we know", "find out who uses the same account at the gateway"
    ),
    CaseKind.DOUBLE: Words(
        "the order was paid twice", "see that the success too many was given back; else give it back"
    ),
    CaseKind.LATE: Words(
        "money came after the payment was announced as over", "deliver, or see that it was given back"
    ),
    CaseKind.REFUND_BACK: Words(
        "a refund came back, and is not sent again by itself", "pay the customer another way"
    ),
    CaseKind.TOO_MUCH_BACK: Words(
        "more was given or taken back than was captured",
        "compare with the gateway's dashboard, claim the rest",
    ),
    CaseKind.MARKED: Words("it was marked for a person", "read its story: payments show"),
}
