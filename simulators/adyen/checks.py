"""What a request may hold, and how it is refused when it holds anything else.

The names are those of Checkout v72; which are acted upon is told by who reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from simulators.adyen.errors import Unprocessable, unreadable
from simulators.store import Json

Check = Callable[[str, Any], None]

EXPONENT_SAYS_NOTHING = 3
"""Letters of a currency code; that it exists is left to its caller, as accounts differ."""

INTERACTIONS = ("Ecommerce", "ContAuth", "Moto", "POS")
MODELS = ("CardOnFile", "Subscription", "UnscheduledCardOnFile")
REFUND_REASONS = ("FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER")
MAX_DELAY_HOURS = 672


def amount(name: str, value: Any) -> None:
    """A currency and whole minor units."""
    if not isinstance(value, dict):
        raise Unprocessable("No amount specified", code="100")
    if set(value) - {"currency", "value"}:
        raise unreadable(f"Structure of Amount contains unknown fields: {sorted(value)}")
    if type(value.get("value")) is not int or value["value"] < 0:
        raise Unprocessable("Invalid amount specified", code="137")
    currency = value.get("currency")
    if not (isinstance(currency, str) and len(currency) == EXPONENT_SAYS_NOTHING and currency.isupper()):
        raise Unprocessable("Unsupported currency specified", code="138")


def text(most: int, least: int = 1) -> Check:
    """A string of so many characters."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise Unprocessable(f"Field '{name}' is not valid.", code="702")

    return check


def one_of(*words: str) -> Check:
    """One of a few words."""

    def check(name: str, value: Any) -> None:
        if value not in words:
            raise Unprocessable(f"Field '{name}' is not valid.", code="702")

    return check


def hours(name: str, value: Any) -> None:
    """A delay of up to 28 days."""
    if type(value) is not int or not 0 <= value <= MAX_DELAY_HOURS:
        raise Unprocessable(f"Field '{name}' is not valid.", code="702")


def strings(name: str, value: Any) -> None:
    """An object whose values are strings, `"true"` and not `true`."""
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise unreadable(f"Field '{name}' is not an object of strings")


def metadata(name: str, value: Any) -> None:
    """Up to 20 pairs."""
    strings(name, value)
    if len(value) > 20 or any(len(key) > 20 or len(item) > 80 for key, item in value.items()):
        raise Unprocessable("Metadata size exceeds limit", code="177")


def payment_method(name: str, value: Any) -> None:
    """A stored card; the simulator sees no card numbers."""
    if not isinstance(value, dict) or value.get("type", "scheme") != "scheme":
        raise Unprocessable("Required object 'paymentMethod' is not provided.", code="14_006")
    if set(value) - {"type", "storedPaymentMethodId", "brand", "holderName", "checkoutAttemptId"}:
        raise unreadable(f"Structure of CardDetails is not served here: {sorted(value)}")
    text(64)("storedPaymentMethodId", value.get("storedPaymentMethodId"))


def details(name: str, value: Any) -> None:
    """What the customer came back with: one thing."""
    if not isinstance(value, dict) or len(value) != 1 or not set(value) & {"redirectResult", "threeDSResult"}:
        raise Unprocessable("Invalid payment details", code="14_005")
    for name, result in value.items():
        text(20_000)(name, result)


def authentication(name: str, value: Any) -> None:
    """Whether to authenticate the customer, and how."""
    if not isinstance(value, dict):
        raise unreadable(f"Field '{name}' is not an object")
    if set(value) - {"attemptAuthentication", "authenticationOnly", "threeDSRequestData"}:
        raise unreadable(f"Structure of AuthenticationData contains unknown fields: {sorted(value)}")
    if "attemptAuthentication" in value:
        one_of("always", "never")("attemptAuthentication", value["attemptAuthentication"])
    how = value.get("threeDSRequestData", {})
    if not isinstance(how, dict) or how.get("nativeThreeDS") not in (None, "preferred", "disabled"):
        raise unreadable("Field 'threeDSRequestData' is not valid.")


def anything(name: str, value: Any) -> None:
    """Taken, and not looked at."""


def unused(names: str) -> dict[str, Check]:
    """Fields that are taken and not looked at."""
    return dict.fromkeys(names.split(), anything)


def check(body: Json, takes: dict[str, Check], requires: Iterable[str]) -> None:
    """Look at every field. Raises AdyenError for the first that is wrong."""
    if unknown := sorted(set(body) - set(takes)):
        raise unreadable(f"Structure contains the following unknown fields: {unknown}")
    for name in requires:
        if name not in body:
            raise _missing(name)
    for name, value in body.items():
        takes[name](name, value)


def _missing(name: str) -> Unprocessable:
    match name:
        case "reference" | "paymentReference":
            return Unprocessable("Reference Missing", code="130")
        case "amount":
            return Unprocessable("No amount specified", code="100")
        case "returnUrl":
            return Unprocessable("Return URL is missing.", code="14_030")
        case "paymentMethod":
            return Unprocessable("Required object 'paymentMethod' is not provided.", code="14_006")
        case _:
            return Unprocessable(f"Required field '{name}' is not provided.", code="702")


REFERENCE = text(80)
ANYWHERE: dict[str, Check] = {**unused("applicationInfo"), "merchantAccount": text(256)}

PAYMENT: dict[str, Check] = {
    **ANYWHERE,
    **unused(
        "accountInfo additionalAmount bankAccount billingAddress browserInfo channel"
        " checkoutAttemptId company countryCode dateOfBirth dccQuote deliverAt deliveryAddress deliveryDate"
        " deviceFingerprint enableOneClick enablePayOut enableRecurring enhancedSchemeData entityType"
        " fraudOffset fundOrigin fundRecipient industryUsage installments lineItems"
        " localizedShopperStatement mandate mcc merchantRiskIndicator mpiData order orderReference origin"
        " paymentValidations platformChargebackLogic recurringExpiry recurringFrequency"
        " redirectFromIssuerMethod redirectToIssuerMethod riskData sessionValidity shopperConversionId"
        " shopperEmail shopperIP shopperLocale shopperName shopperTaxInfo socialSecurityNumber splits store"
        " storePaymentMethod subMerchants surcharge telephoneNumber threeDS2RequestData"
        " threeDSAuthenticationOnly trustedShopper"
    ),
    "additionalData": strings,
    "amount": amount,
    "authenticationData": authentication,
    "captureDelayHours": hours,
    "merchantOrderReference": text(1000),
    "metadata": metadata,
    "paymentMethod": payment_method,
    "recurringProcessingModel": one_of(*MODELS),
    "reference": REFERENCE,
    "returnUrl": text(1024),
    "shopperInteraction": one_of(*INTERACTIONS),
    "shopperReference": text(256, least=3),
    "shopperStatement": text(10_000),
}
DETAILS: dict[str, Check] = {
    **unused("authenticationData threeDSAuthenticationOnly"),
    "details": details,
    "paymentData": text(200_000),
}
CAPTURE: dict[str, Check] = {
    **ANYWHERE,
    **unused("enhancedSchemeData lineItems platformChargebackLogic splits subMerchants"),
    "amount": amount,
    "reference": REFERENCE,
}
REFUND: dict[str, Check] = {
    **ANYWHERE,
    **unused("capturePspReference enhancedSchemeData lineItems splits store"),
    "amount": amount,
    "merchantRefundReason": one_of(*REFUND_REASONS),
    "reference": REFERENCE,
}
CANCEL: dict[str, Check] = {**ANYWHERE, "reference": REFERENCE}
TECHNICAL_CANCEL: dict[str, Check] = {**CANCEL, "paymentReference": REFERENCE}
