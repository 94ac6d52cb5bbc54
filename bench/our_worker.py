"""The service's own worker as `run_worker.py` builds it, with a gateway that only takes the time it is told to take."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

from gateways.protocol import (
    Absent,
    Approved,
    AuthorizeRequest,
    Capabilities,
    CaptureRequest,
    LookupRequest,
    Outcome,
    RefundRequest,
    VoidRequest,
)
from messages.money import EXPONENTS, Money
from ops.logs import configure_logs
from ops.settings import read_settings
from run_worker import run


class PatientGateway:
    """Approves everything after a while; nothing is recorded."""

    name = "bench"
    capabilities = Capabilities(
        currencies=frozenset(EXPONENTS),
        replay_window=timedelta(days=1),
        call_time_limit=timedelta(seconds=30),
        partial_capture=True,
        multiple_capture=True,
    )

    def __init__(self, takes_s: float) -> None:
        self._takes_s = takes_s

    async def authorize(self, request: AuthorizeRequest) -> Outcome:
        """Approve."""
        return await self._approved(request.attempt_id, request.amount)

    async def capture(self, request: CaptureRequest) -> Outcome:
        """Approve."""
        return await self._approved(request.attempt_id, request.amount)

    async def void(self, request: VoidRequest) -> Outcome:
        """Approve."""
        return await self._approved(request.attempt_id, request.amount)

    async def refund(self, request: RefundRequest) -> Outcome:
        """Approve."""
        return await self._approved(request.attempt_id, request.amount)

    async def lookup(self, request: LookupRequest) -> Outcome | Absent:
        """Never needed: no answer is lost here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""

    async def _approved(self, attempt_id: str, amount: Money) -> Outcome:
        if self._takes_s:
            await asyncio.sleep(self._takes_s)
        return Approved(reference=f"ch_{attempt_id}", amount=amount)


def main() -> None:
    """Run until SIGTERM."""
    settings = read_settings()
    configure_logs(settings.log)
    run(settings, {"bench": PatientGateway(float(os.environ["BENCH_GATEWAY_S"]))})


if __name__ == "__main__":
    main()
