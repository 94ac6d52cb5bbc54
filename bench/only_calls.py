"""A loop that makes an adapter's authorizing calls and does nothing else: what the SDK and the network alone can do.

python -m bench.only_calls stripe tok_visa 8   (settings from the environment, as a worker's; prints calls per second)
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace

from gateways.protocol import Approved, AuthorizeRequest, Gateway, Opened
from messages.ids import AttemptId, PaymentId
from messages.money import Money
from ops.settings import read_settings
from run_worker import open_gateways

AT_ONCE = 100
"""As many as a worker's gateways keep connections for, by default."""


async def calls_per_s(gateway: Gateway, token: str, seconds: float) -> float:
    """Authorize again and again, many at once, each a payment of its own. Raises: RuntimeError, if one is refused."""
    end = time.monotonic() + seconds
    made = 0

    async def go_on(line: int) -> None:
        nonlocal made
        number = 0
        while time.monotonic() < end:
            number += 1
            name = f"only-{line}-{number}"
            request = AuthorizeRequest(
                attempt_id=AttemptId(f"{name}.a1"),
                payment_id=PaymentId(name),
                order_id=f"order-{name}",
                amount=Money(1999, "EUR"),
                token=token,
                capture=False,
                reference=None,
                customer_id="customer-1001",
                return_url="https://shop.example/return",
            )
            answer = await gateway.authorize(request)
            if isinstance(answer, Opened):  # a first step; the worker stores the reference between the two
                answer = await gateway.authorize(replace(request, reference=answer.reference))
            if not isinstance(answer, Approved):
                raise RuntimeError(f"{gateway.name} answered {answer}")
            made += 1

    begun = time.monotonic()
    try:
        await asyncio.gather(*(go_on(line) for line in range(AT_ONCE)))
    finally:
        await gateway.close()
    return made / (time.monotonic() - begun)


if __name__ == "__main__":
    name, token, seconds = sys.argv[1:]
    print(asyncio.run(calls_per_s(open_gateways(read_settings())[name], token, float(seconds))))
