"""A corpus of webhooks for each gateway: whatever is done to them on their way, the books end the same.

The webhooks are those of a few payments' lives at the gateway's simulator. Told once and in order they give the state
that everything else is measured by.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateways import adyen_webhooks, paypal_webhooks, stripe_webhooks
from gateways.adyen import AdyenGateway
from gateways.adyen_webhooks import AdyenVerifier
from gateways.paypal import PaypalGateway
from gateways.paypal_certificates import Certificates
from gateways.paypal_webhooks import PaypalVerifier
from gateways.stripe import StripeGateway
from gateways.stripe_webhooks import StripeVerifier
from ledger.schema import migrate
from messages.commands import CaptureRequested, PaymentRequested, RefundRequested, VoidRequested
from simulators.running import running_adyen, running_paypal, running_stripe
from tests.simulators.receiver import Delivery as Parcel
from tests.simulators.receiver import receiving, until
from tests.street.corpus import SETTLE_S, Corner, Shop, delivered

GATEWAYS = ("stripe", "adyen", "paypal")
OLD, NEW, STRANGE = "whsec_old", "whsec_new", "whsec_strange"
OLD_KEY, NEW_KEY, STRANGE_KEY = "AB" * 32, "CD" * 32, "EF" * 32
USERNAME, OLD_PASSWORD, NEW_PASSWORD = "adyen", "old", "new"
OLD_ID, NEW_ID, STRANGE_ID = "WH0LD", "WHNEW", "WHSTRANGE"
LOGINS: dict[str, list[dict[str, Any]]] = {
    "stripe": [{"secrets": [OLD]}, {"secrets": [NEW]}, {"secrets": [STRANGE]}],
    "adyen": [
        {"hmac_key": OLD_KEY, "password": OLD_PASSWORD},
        {"hmac_key": NEW_KEY, "password": NEW_PASSWORD},
        {"hmac_key": STRANGE_KEY},
    ],
    "paypal": [{"webhook_id": OLD_ID}, {"webhook_id": NEW_ID}, {"webhook_id": STRANGE_ID}],
}
"""How the endpoint signs with the old secret, with the new one, and with one that is not ours."""

PAYS = {"stripe": "pm_card_visa", "adyen": "sim_authorised", "paypal": "card:sim-card"}
REFUND_PENDS = {
    "stripe": "pm_card_pendingRefund",
    "adyen": "sim_authorised",
    "paypal": "paypal:sim-wallet-refund-pending",
}
REFUND_FAILS = {
    "stripe": "pm_card_refundFail",
    "adyen": "sim_refund_fails_later",
    "paypal": "paypal:sim-wallet-refund-fails",
}
CAPTURE_FAILS = {"adyen": "sim_capture_fails_later"}
LIVES = ("paid", "captured", "voided", "refunded", "came-back", "by-hand")
LIVES_OF = {"stripe": LIVES, "adyen": (*LIVES, "capture-failed", "sale-failed"), "paypal": LIVES}
"""Adyen alone lets a card's capture fail after it had succeeded."""
UNDOES = {"REFUND_FAILED": {"REFUND"}, "CAPTURE_FAILED": {"CAPTURE", "AUTHORISATION"}}
"""Adyen's words for what had succeeded and came to nothing, and for that success."""
STRANGER = "stranger"
"""A payment of the same account that our books know nothing of."""

MOST = 4
"""Webhooks of which every order is tried."""


@contextmanager
def stripe_corner() -> Iterator[Corner]:
    with running_stripe(settle_after_s=SETTLE_S) as running, receiving() as receiver:
        running.control.deliver(secrets=[OLD])
        yield Corner(
            name="stripe",
            gateway=StripeGateway(api_key=running.api_key, base_url=running.url),
            verifier=StripeVerifier([OLD, NEW], livemode=False),
            reader=stripe_webhooks.read,
            control=running.control,
            receiver=receiver,
        )


@contextmanager
def adyen_corner() -> Iterator[Corner]:
    with running_adyen(settle_after_s=SETTLE_S) as running, receiving() as receiver:
        running.control.deliver(hmac_key=OLD_KEY, username=USERNAME, password=OLD_PASSWORD)
        yield Corner(
            name="adyen",
            gateway=AdyenGateway(
                api_key=running.api_key, merchant_account=running.merchant_account, base_url=running.url
            ),
            verifier=AdyenVerifier(
                hmac_keys=[OLD_KEY, NEW_KEY],
                merchant_account=running.merchant_account,
                username=USERNAME,
                passwords=[OLD_PASSWORD, NEW_PASSWORD],
            ),
            reader=adyen_webhooks.read,
            control=running.control,
            receiver=receiver,
        )


@contextmanager
def paypal_corner(directory: Path) -> Iterator[Corner]:
    with running_paypal(settle_after_s=SETTLE_S) as running, receiving() as receiver:
        running.control.deliver(webhook_id=OLD_ID)
        authority = directory / "authority.pem"
        authority.write_text(running.control.authority())
        certificates = Certificates(origins=[running.url], ca_file=authority)
        yield Corner(
            name="paypal",
            gateway=PaypalGateway(
                client_id=running.client_id, client_secret=running.client_secret, base_url=running.url
            ),
            verifier=PaypalVerifier(webhook_ids=[OLD_ID, NEW_ID], certificates=certificates),
            reader=paypal_webhooks.read,
            control=running.control,
            receiver=receiver,
        )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All webhooks of some lives, the books before any of them came, and those after all came in order."""

    corner: Corner
    directory: Path
    ids: dict[str, list[str]]
    """The webhooks' ids at the simulator, in order, by the life they tell of."""
    parcels: dict[str, Parcel]
    """Each as it is delivered alone, by its id."""
    before: Shop

    @property
    def lives(self) -> tuple[str, ...]:
        """Our own payments."""
        return LIVES_OF[self.corner.name]

    @property
    def all_ids(self) -> list[str]:
        """Every webhook of our own payments, in order."""
        return [id for life in self.lives for id in self.ids[life]]

    def orders(self, life: str) -> Iterator[tuple[str, ...]]:
        """Every order of the last few webhooks of a payment that say anything."""
        saying = [id for id in self.ids[life] if self.corner.reader(self.parcels[id].body)]
        yield from itertools.permutations(saying[-MOST:])

    def words(self, ids: Sequence[str]) -> list[str]:
        """The gateway's words for them."""
        return [notice.event for id in ids for notice in self.corner.reader(self.parcels[id].body)]

    @contextmanager
    def shop(self) -> Iterator[Shop]:
        """A shop in the state before any webhook; its books must prove clean in the end."""
        books = self.directory / f"{len(list(self.directory.iterdir()))}.db"
        with closing(self.before.copied(books)) as shop:
            yield shop
            assert shop.problems() == []

    def told(self, ids: list[str]) -> Shop:
        """A shop that was told these, in this order."""
        with self.shop() as shop:
            shop.deliver(self.parcels[id] for id in ids)
        return shop


class Reference:
    """The state after every webhook came once and in order."""

    def __init__(self, corpus: Corpus) -> None:
        self.shop = corpus.told(corpus.all_ids)
        self.counts = dict(self.shop.counts)
        self.state = self.shop.state()


@pytest.fixture(scope="module", params=GATEWAYS)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        corner = stack.enter_context(
            paypal_corner(directory)
            if request.param == "paypal"
            else {"stripe": stripe_corner, "adyen": adyen_corner}[request.param]()
        )
        runner = stack.enter_context(asyncio.Runner())
        stack.callback(lambda: runner.run(corner.gateway.close()))
        stack.callback(lambda: runner.run(corner.verifier.close()))
        yield _made(corner, runner, directory, stack)


@pytest.fixture(scope="module")
def reference(corpus: Corpus) -> Reference:
    return Reference(corpus)


def _made(corner: Corner, runner: asyncio.Runner, directory: Path, stack: ExitStack) -> Corpus:
    books = {name: directory / f"{name}.db" for name in ("ours", "strangers")}
    shops = {}
    for name, path in books.items():
        migrate(f"sqlite:///{path}")
        shops[name] = stack.enter_context(closing(Shop(corner, path, runner)))
    ids: dict[str, list[str]] = {}
    seen = 0
    for life in (*LIVES_OF[corner.name], STRANGER):
        _live(life, shops["strangers" if life == STRANGER else "ours"])
        corner.control.advance_clock(SETTLE_S + 1)
        corner.control.advance_clock(SETTLE_S + 1)  # what fails later does so some time after it was done
        webhooks = [webhook["id"] for webhook in corner.control.webhooks()]
        ids[life], seen = webhooks[seen:], len(webhooks)
    corner.control.deliver(url=corner.receiver.url)
    until(lambda: corner.receiver.has(seen))
    parcels = dict(zip(webhooks, corner.receiver.deliveries, strict=True))
    return Corpus(corner=corner, directory=directory, ids=ids, parcels=parcels, before=shops["ours"])


def _live(life: str, shop: Shop) -> None:
    """Ask for what makes a life; nothing is told of it yet."""
    gateway = shop.corner.name
    tokens = {"refunded": REFUND_PENDS, "came-back": REFUND_FAILS, "capture-failed": CAPTURE_FAILS}
    tokens |= {"sale-failed": CAPTURE_FAILS}
    token = tokens.get(life, PAYS)[gateway]
    manual = life in ("captured", "voided", "capture-failed")
    shop.ask(_payment(gateway, life, token=token, manual=manual))
    match life:
        case "captured" | "capture-failed":
            capture = {"capture_id": f"cap-{life}", "payment_id": life}
            shop.ask(CaptureRequested.model_validate(capture))
        case "voided":
            shop.ask(VoidRequested.model_validate({"payment_id": life}))
        case "refunded" | "came-back":
            refund: dict[str, Any] = {"refund_id": f"ref-{life}", "payment_id": life}
            refund |= {"amount": {"minor": 2_000, "currency": "EUR"}}
            shop.ask(RefundRequested.model_validate_json(json.dumps(refund)))
        case "by-hand":
            _refund_by_hand(shop, life)


def _payment(gateway: str, payment_id: str, *, token: str, manual: bool) -> PaymentRequested:
    asked = {
        "payment_id": payment_id,
        "order_id": f"order-{payment_id}",
        "amount": {"minor": 10_000, "currency": "EUR"},
        "payment_method": {"token": token, "gateway": gateway},
        "capture": "manual" if manual else "automatic",
        "customer_id": "customer-1001",
        "return_url": "https://shop.example/return",
    }
    return PaymentRequested.model_validate_json(json.dumps(asked))


def _refund_by_hand(shop: Shop, payment_id: str) -> None:
    (attempt,) = (row for row in shop.state(payment_id)["attempts"])
    reference = str(attempt[6]).split(":")[-1].split("/")[-1]
    control: Any = shop.corner.control
    match shop.corner.name:
        case "stripe":
            control.in_dashboard("refund", reference, amount=500)
        case "adyen":
            control.by_hand(reference, "refund", amount=500)
        case _:
            control.by_hand("refund", reference, value="5.00")


# --- the ordered set ------------------------------------------------------------------------------------------------


def test_in_order_and_once_the_books_say_what_happened(corpus: Corpus, reference: Reference) -> None:
    said = {row[0]: row for row in reference.state["payments"]}
    refunds = {row[1]: row[4] for row in reference.state["refunds"]}

    ends = {"voided": "voided", "capture-failed": "reversed", "sale-failed": "reversed"}
    assert {life: row[1] for life, row in said.items()} == {
        life: ends.get(life, "captured") for life in corpus.lives
    }
    assert refunds == {"refunded": "succeeded", "came-back": "reversed", "by-hand": "succeeded"}
    counts = reference.counts
    assert counts["accepted"] == len(corpus.all_ids)
    assert counts.get("repeated", 0) == counts.get("forged", 0) == counts["dead_letters"] == 0


# --- orders, repeats, batches ---------------------------------------------------------------------------------------


def test_every_order_of_a_payments_webhooks_ends_the_same(corpus: Corpus, reference: Reference) -> None:
    for life in corpus.lives:
        for order in corpus.orders(life):
            if not _undone_first(corpus.words(order)):
                assert_ends_as_in_order(corpus, reference, life, order)


@pytest.mark.parametrize("corpus", ["adyen"], indirect=True)
@pytest.mark.parametrize("life", ["came-back", "capture-failed", "sale-failed"])
def test_what_was_undone_ends_the_same_when_that_is_told_first(
    life: str, corpus: Corpus, reference: Reference
) -> None:
    orders = [order for order in corpus.orders(life) if _undone_first(corpus.words(order))]
    assert orders
    for order in orders:
        assert_ends_as_in_order(corpus, reference, life, order)


def assert_ends_as_in_order(corpus: Corpus, reference: Reference, life: str, order: Sequence[str]) -> None:
    earlier = [id for id in corpus.ids[life] if id not in order]
    shop = corpus.told([*earlier, *order])
    assert shop.state(life) == reference.shop.state(life), (life, corpus.words(order))
    assert shop.counts["accepted"] == len(corpus.ids[life])


def _undone_first(words: Sequence[str]) -> bool:
    return any(word in UNDOES and UNDOES[word] & set(words[place:]) for place, word in enumerate(words))


def test_a_webhook_that_never_comes_leaves_a_gap_and_the_rest_invents_nothing(corpus: Corpus) -> None:
    for life in corpus.lives:
        for left_out in corpus.ids[life]:
            shop = corpus.told([id for id in corpus.ids[life] if id != left_out])
            (payment,) = shop.state(life)["payments"]
            captured, refunded = payment[5], payment[9]
            assert captured <= 10_000
            assert refunded <= 2_000


@pytest.mark.parametrize("manual", [False, True], ids=["sale", "hold"])
def test_a_webhook_that_overtakes_the_answer_of_its_call_ends_the_same(manual: bool, corpus: Corpus) -> None:
    corner, payment_id = corpus.corner, f"overtaken-{manual}"
    corner.control.deliver(is_paused=True)
    before = len(corner.control.webhooks())
    with corpus.shop() as shop:
        asked = _payment(corner.name, payment_id, token=PAYS[corner.name], manual=manual)
        answer = shop.ask_and_hold_back_the_answer(asked)
        corner.control.advance_clock(SETTLE_S + 1)
        ids = [webhook["id"] for webhook in corner.control.webhooks()[before:]]
        parcels = delivered(corner, ids)
        later = corpus.directory / f"later-{payment_id}.db"
        with closing(shop.copied(later)) as overtaken:
            overtaken.deliver(parcels)
            overtaken.hear(answer)
            shop.hear(answer)
            shop.deliver(parcels)

            assert shop.state(payment_id)["payments"][0][1] == ("authorized" if manual else "captured")
            assert overtaken.state(payment_id) == shop.state(payment_id)
            assert overtaken.problems() == []


def test_each_three_times_ends_the_same_and_is_counted(corpus: Corpus, reference: Reference) -> None:
    ids = corpus.all_ids
    with corpus.shop() as shop:
        shop.deliver(corpus.parcels[id] for id in ids for _ in range(3))

        assert shop.state() == reference.state
        assert shop.counts["accepted"] == 3 * len(ids)
        assert shop.counts["repeated"] == 2 * reference.counts["told"]


def test_the_whole_set_again_and_backwards_ends_the_same(corpus: Corpus, reference: Reference) -> None:
    with corpus.shop() as shop:
        shop.deliver(corpus.parcels[id] for id in corpus.all_ids)
        shop.deliver(corpus.parcels[id] for id in reversed(corpus.all_ids))

        assert shop.state() == reference.state
        assert shop.counts["repeated"] == reference.counts["told"]


@pytest.mark.parametrize("corpus", ["adyen"], indirect=True)  # alone writes several notices in one body
@pytest.mark.parametrize("size", [2, 3, 100])
def test_batches_end_as_one_by_one_does(size: int, corpus: Corpus, reference: Reference) -> None:
    parcels = delivered(corpus.corner, corpus.all_ids, batch=size)
    with corpus.shop() as shop:
        shop.deliver(parcels)

        assert shop.state() == reference.state
        assert shop.counts["accepted"] == -(-len(corpus.all_ids) // size)
        assert shop.counts["told"] == reference.counts["told"]


# --- who says it ----------------------------------------------------------------------------------------------------


def test_forged_truncated_and_changed_ones_change_nothing_and_are_counted(
    corpus: Corpus, reference: Reference
) -> None:
    good = [corpus.parcels[id] for id in corpus.all_ids]
    wrong = delivered(corpus.corner, corpus.all_ids, signature="wrong")
    unsigned = delivered(corpus.corner, corpus.all_ids, signature="missing")
    truncated = [Parcel(headers=parcel.headers, body=parcel.body[:-20]) for parcel in good]
    with corpus.shop() as shop:
        shop.deliver([*wrong, *unsigned, *truncated])
        untouched = shop.state()
        forged = shop.counts["forged"]
        shop.deliver(good)

        assert untouched == corpus.before.state()
        assert forged == len(wrong) + len(unsigned) + len(truncated) == 3 * len(good)
        assert shop.counts["accepted"] == len(good)
        assert shop.state() == reference.state


def test_old_and_future_ones_are_forged_where_the_time_is_signed(
    corpus: Corpus, reference: Reference
) -> None:
    parcels = [corpus.parcels[id] for id in corpus.all_ids]
    now = datetime.now(UTC)
    too_far = {"stripe": timedelta(minutes=6), "adyen": timedelta(days=400), "paypal": timedelta(days=5)}
    with corpus.shop() as shop:
        shop.deliver(parcels, now=now + too_far[corpus.corner.name])
        shop.deliver(parcels, now=now - too_far[corpus.corner.name])

        if corpus.corner.name == "adyen":  # signs no time: what comes again is known by its id
            assert shop.counts["repeated"] == reference.counts["told"]
            assert shop.state() == reference.state
        else:
            assert shop.counts["forged"] == 2 * len(parcels)
            assert shop.state() == corpus.before.state()


def test_secrets_are_rotated_without_losing_a_webhook(corpus: Corpus, reference: Reference) -> None:
    old, new, strange = LOGINS[corpus.corner.name]
    ids = corpus.all_ids
    half = len(ids) // 2
    with corpus.shop() as shop:
        shop.deliver(delivered(corpus.corner, ids[:half], **old))
        shop.deliver(delivered(corpus.corner, ids, **strange))
        shop.deliver(delivered(corpus.corner, ids[half:], **new))

        assert shop.counts["accepted"] == len(ids)
        assert shop.counts["forged"] == len(ids)
        assert shop.state() == reference.state


def test_another_account_and_the_other_mode_are_forged(corpus: Corpus) -> None:
    parcels = [corpus.parcels[id] for id in corpus.all_ids]
    match corpus.corner.name:
        case "stripe":
            parcels = delivered(corpus.corner, corpus.all_ids, livemode=True)
            verifier: Any = corpus.corner.verifier
        case "adyen":
            verifier = AdyenVerifier(
                hmac_keys=[OLD_KEY],
                merchant_account="SomebodyElsesECOM",
                username=USERNAME,
                passwords=[OLD_PASSWORD],
            )
        case _:
            verifier = PaypalVerifier(webhook_ids=[NEW_ID])
            parcels = [
                Parcel(
                    headers={**parcel.headers, "paypal-cert-url": "https://paypal.example/cert"},
                    body=parcel.body,
                )
                for parcel in parcels
            ]
    with corpus.shop() as shop:
        shop.corner = _with(corpus.corner, verifier)
        shop.deliver(parcels)

        assert shop.counts["forged"] == len(parcels)
        assert shop.state() == corpus.before.state()


def _with(corner: Corner, verifier: Any) -> Corner:
    return Corner(
        name=corner.name,
        gateway=corner.gateway,
        verifier=verifier,
        reader=corner.reader,
        control=corner.control,
        receiver=corner.receiver,
    )


# --- what it says ---------------------------------------------------------------------------------------------------


def test_webhooks_of_payments_we_do_not_know_are_held_then_given_up_and_change_nothing(
    corpus: Corpus, reference: Reference
) -> None:
    strange = corpus.ids[STRANGER]
    with corpus.shop() as shop:
        shop.deliver(corpus.parcels[id] for id in (*strange, *corpus.all_ids, *strange))
        assert shop.state() == reference.state
        notices = shop.notices()
        shop.wait()

        told = sum(len(corpus.corner.reader(corpus.parcels[id].body)) for id in strange)
        assert told > 0
        assert shop.counts["unmatched"] == told
        assert notices == reference.counts["told"] + told
        assert shop.counts["dead_letters"] == 0


Change = Callable[[dict[str, Any]], object]
UNKNOWN_TYPES: dict[str, Change] = {
    "stripe": lambda event: event.update(type="payout.paid"),
    "adyen": lambda body: body["notificationItems"][0]["NotificationRequestItem"].update(
        eventCode="REPORT_AVAILABLE"
    ),
    "paypal": lambda event: event.update(event_type="BILLING.PLAN.CREATED"),
}
NOT_UNDERSTOOD: dict[str, Change] = {
    "stripe": lambda event: event["data"].update(object={"object": "balance"}),
    "adyen": lambda body: body["notificationItems"][0]["NotificationRequestItem"].update(pspReference="?"),
    "paypal": lambda event: event.update(resource={}),
}


@pytest.mark.parametrize("changes", [UNKNOWN_TYPES, NOT_UNDERSTOOD], ids=["unknown types", "no sense"])
def test_authentic_ones_that_make_no_sense_are_dead_letters_and_change_nothing(
    changes: dict[str, Change], corpus: Corpus, reference: Reference
) -> None:
    """Signed as the gateway would: the signature itself is not what is looked at here."""
    parcels = [
        corpus.parcels[id] for id in corpus.ids["paid"] if corpus.corner.reader(corpus.parcels[id].body)
    ]
    changed = []
    for number, parcel in enumerate(parcels):
        content = json.loads(parcel.body)
        changes[corpus.corner.name](content)
        content |= {"id": f"changed-{number}"}
        changed.append(Parcel(headers=parcel.headers, body=json.dumps(content).encode()))
    with corpus.shop() as shop:
        shop.corner = _with(corpus.corner, _Credulous())
        shop.deliver(changed)
        untouched = shop.state()
        shop.corner = corpus.corner
        shop.deliver(corpus.parcels[id] for id in corpus.all_ids)

        assert shop.counts["dead_letters"] == len(changed) > 0
        assert untouched == corpus.before.state()
        assert shop.state() == reference.state


class _Credulous:
    """Takes anything for authentic."""

    async def verify(self, **_: object) -> None:
        return

    async def close(self) -> None:
        return
