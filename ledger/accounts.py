"""The chart of accounts (books, 5.7), as far as journals use it. An account exists per gateway and currency."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Account(IntEnum):
    """Account numbers."""

    GATEWAY_RECEIVABLE = 1100
    """What the gateway owes us, per payment."""
    ORDER_CLEARING = 2100
    """What we owe the order side, which books revenue against it."""
    REFUND_PAYABLE = 2200
    """Reserved for refunds that are not through yet."""
    AUTHORIZATION_HOLD = 9100
    AUTHORIZATION_HOLD_CONTRA = 9200

    @property
    def words(self) -> str:
        """The account's name for people."""
        return self.name.lower().replace("_", " ")


class Layer(StrEnum):
    """Money that moved, or holds that may become money. Each layer balances alone."""

    POSTED = "posted"
    MEMO = "memo"


class Side(StrEnum):
    """Debit or credit."""

    DEBIT = "D"
    CREDIT = "C"


NORMAL_SIDE = {
    Account.GATEWAY_RECEIVABLE: Side.DEBIT,
    Account.ORDER_CLEARING: Side.CREDIT,
    Account.REFUND_PAYABLE: Side.CREDIT,
    Account.AUTHORIZATION_HOLD: Side.DEBIT,
    Account.AUTHORIZATION_HOLD_CONTRA: Side.CREDIT,
}
"""The side on which a balance of the account is shown as positive."""
