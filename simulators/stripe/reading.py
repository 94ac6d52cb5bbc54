"""What reads only: one object, lists in pages, and ids expanded to the objects they name."""

from __future__ import annotations

from collections.abc import Callable

from simulators.store import Json
from simulators.stripe.account import Account
from simulators.stripe.errors import InvalidRequest
from simulators.stripe.parameters import Params

EXPANDABLE = {
    "balance_transaction": "balance_transaction",
    "charge": "charge",
    "customer": "customer",
    "failure_balance_transaction": "balance_transaction",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
}
"""Fields that hold an id, and the kind of object it names."""

MAX_LIMIT = 100


def retrieve(kind: str, *, param: str = "id") -> Callable[[Account, str, Params], Json]:
    """An endpoint that reads one object of a kind."""
    return lambda account, id, params: account.get(kind, id, param=param, status=404)


def list_intents(account: Account, id: str, params: Params) -> Json:
    """PaymentIntents, newest first, of a customer or of all."""
    return _page(account, "payment_intent", "/v1/payment_intents", params, owner=None)


def list_refunds(account: Account, id: str, params: Params) -> Json:
    """Refunds, newest first, of a PaymentIntent, of a charge or of all."""
    return _page(account, "refund", "/v1/refunds", params, owner=params.get("payment_intent"))


def expanded(account: Account, answer: Json, paths: list[str]) -> Json:
    """Put objects in the place of ids. Raises InvalidRequest for what cannot be expanded."""
    for path in paths:
        _expand(account, answer, path.split("."), path)
    return answer


def _page(account: Account, kind: str, url: str, params: Params, *, owner: str | None) -> Json:
    limit = params.get("limit", 10)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"Invalid integer: limit must be between 1 and {MAX_LIMIT}.", param="limit")
    after = params.get("starting_after")
    if after is not None:
        account.get(kind, after, param="starting_after")
    found = []
    for item in account.newest_first(kind, owner=owner, after=after):
        if _wanted(item, params):
            found.append(item)
        if len(found) > limit:
            break
    return {"object": "list", "url": url, "has_more": len(found) > limit, "data": found[:limit]}


def _wanted(item: Json, params: Params) -> bool:
    created = params.get("created", {})
    bounds = {"gte": created, "lte": created} if isinstance(created, int) else created
    return (
        all(item.get(name) == params[name] for name in ("customer", "charge") if name in params)
        and item["created"] >= bounds.get("gte", 0)
        and item["created"] > bounds.get("gt", -1)
        and item["created"] <= bounds.get("lte", item["created"])
        and item["created"] < bounds.get("lt", item["created"] + 1)
    )


def _expand(account: Account, item: Json, path: list[str], whole: str) -> None:
    field, *rest = path
    if field == "data" and item.get("object") == "list":
        for one in item["data"]:
            _expand(account, one, rest, whole)
        return
    if field not in EXPANDABLE or field not in item:
        raise InvalidRequest(f"This property cannot be expanded ({whole}).", param="expand")
    if isinstance(item[field], str):
        item[field] = account.find(EXPANDABLE[field], item[field])
    if rest and item[field] is not None:
        _expand(account, item[field], rest, whole)
