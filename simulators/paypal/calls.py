"""A call to PayPal and what goes back, and how a fault spoils it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from simulators.faults import Ending
from simulators.paypal.errors import Conflict, InternalError, PaypalError, RateLimited
from simulators.paypal.idempotency import Claim
from simulators.paypal.merchant import Execution
from simulators.paypal.operations import Operation
from simulators.paypal.requests import Source
from simulators.store import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that came with a good access token to an endpoint that exists."""

    operation: Operation
    path: str
    object_id: str
    """The id in the path, or empty."""
    body: Json | list[Json] | None
    request_id: str | None
    """The PayPal-Request-Id."""
    wants_whole: bool
    """`Prefer: return=representation`."""
    debug_id: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back; no body with 204."""

    status: int
    body: Json | None


@dataclass(frozen=True, slots=True)
class Broken:
    """What goes back when the answer is lost on the way: nothing, or a page of a proxy's."""

    ending: Literal[Ending.HANG_UP, Ending.HTML_502]


def claim_of(call: Call) -> Claim | None:
    """What the call's request id stands for, if it counts."""
    if call.request_id is None or call.operation.kept_for_s is None:
        return None
    return Claim(verb=call.operation.verb, request_id=call.request_id, kept_for_s=call.operation.kept_for_s)


def execution_of(call: Call) -> Execution:
    """On whose behalf a call changes the account."""
    return Execution(debug_id=call.debug_id, request_id=call.request_id, base_url=call.base_url)


def vault_id_in(body: Json) -> str | None:
    """The saved method a body names."""
    source = body.get("payment_source")
    for name in Source.model_fields:
        chosen = source.get(name) if isinstance(source, dict) else None
        vault_id = chosen.get("vault_id") if isinstance(chosen, dict) else None
        if isinstance(vault_id, str):
            return vault_id
    return None


def ended(answer: Answer, ending: Ending, debug_id: str) -> Answer | Broken:
    """The answer as it goes back, or what a fault makes of it."""
    match ending:
        case Ending.ANSWER:
            return answer
        case Ending.HANG_UP | Ending.HTML_502:
            return Broken(ending)
        case Ending.ERROR_500:
            error: PaypalError = InternalError()
        case Ending.RATE_LIMIT_429:
            error = RateLimited()
        case Ending.CONFLICT_409:
            error = Conflict()
        case _:
            assert_never(ending)
    return Answer(status=error.status, body=error.body(debug_id))
