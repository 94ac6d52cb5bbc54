"""The options that choose letters, given once for all commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_type_hints

import typer

from ledger.letters import LetterState
from ops.dead_letters.choosing import Choice, condition, span

State = Literal["open", "any", "new", "requeued", "edited", "parked", "discarded", "resolved"]


def _filters(
    ids: Annotated[list[str] | None, typer.Argument(help="Letters, or beginnings of their ids.")] = None,
    queue: Annotated[str | None, typer.Option(help="That died in this queue.")] = None,
    type: Annotated[str | None, typer.Option(help="Of this type, such as RefundRequested.")] = None,
    why: Annotated[str | None, typer.Option("--why", help="That died of this reason.")] = None,
    group: Annotated[str | None, typer.Option(help="Of this group; see `groups`.")] = None,
    payment: Annotated[str | None, typer.Option(help="About this payment.")] = None,
    order: Annotated[str | None, typer.Option(help="About this order.")] = None,
    older_than: Annotated[str | None, typer.Option(help="That died before: 90s, 10m, 2h, 3d.")] = None,
    newer_than: Annotated[str | None, typer.Option(help="That died since.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="body.amount.currency=EUR, headers.name=value, properties.app_id=shop; repeatable."
        ),
    ] = None,
    state: Annotated[State, typer.Option(help="open: new, and parked unless snoozed.")] = "open",
) -> Choice:
    match state:
        case "any":
            states: tuple[LetterState, ...] = ()
        case "open":
            states = (LetterState.NEW, LetterState.PARKED)
        case one:
            states = (LetterState(one),)
    return Choice(
        ids=tuple(ids or ()),
        queue=queue,
        type=type,
        reason=why,
        group=group,
        payment=payment,
        order=order,
        older_than=span(older_than) if older_than else None,
        newer_than=span(newer_than) if newer_than else None,
        where=tuple(map(condition, where or ())),
        states=states,
        with_snoozed=state != "open",
    )


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose letters; it gets them as a function that makes the `choice`.

    A function, so that a filter that cannot be read is explained like everything else.
    """
    ours = inspect.signature(_filters).parameters
    own = {name: each for name, each in inspect.signature(command).parameters.items() if name != "choice"}

    def run(**given: Any) -> None:
        filters = {name: given.pop(name) for name in ours}
        command(choice=lambda: _filters(**filters), **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    hints = get_type_hints(_filters, include_extras=True) | get_type_hints(command, include_extras=True)
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, each in {**ours, **own}.items()
    ]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
