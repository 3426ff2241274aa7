"""From minor units (cents) to the major units that the API wants: 1999 -> 19.99.

Many platforms and payment providers count money in a currency's smallest unit (Stripe, Square,
Klarna, commercetools, Spree). How many digits that is differs: two for most, none for the yen,
three for the Kuwaiti dinar.
"""

from __future__ import annotations

import numbers
from decimal import Decimal
from typing import Final, SupportsIndex

from alhena_async.errors import InvalidEventError

__all__ = ["from_minor"]

_BOUND: Final = 10**19  # below it, major units of every currency stay printable

# ISO 4217, list one, as published on 2026-01-01; those that have no minor unit (gold, XXX) are
# left out. The last line: withdrawn since 2023, and still found in shops' data.
_TABLE: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
    CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR
    PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP
    TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    ANG BGN CUC HRK SLL ZWL
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Final[dict[str, int]] = {
    currency: exponent for exponent, line in _TABLE.items() for currency in line.split()
}
"""Digits of each currency's minor unit."""


def from_minor(
    amount: SupportsIndex, currency: str, *, exponent: int | None = None
) -> tuple[Decimal, str]:
    """Return an amount of minor units in major units, and the currency in upper case.

    `from_minor(50000, "usd")` is `(Decimal("500.00"), "USD")`.

    Args:
        amount: A whole number of the currency's smallest unit.
        currency: ISO 4217, in upper or lower case.
        exponent: How many digits the minor unit has, 0 to 9, where your provider counts otherwise
            than ISO 4217. (Stripe: MGA has none.) None (default): as in ISO 4217.

    Raises:
        InvalidEventError: The amount is no whole number (money that has a decimal point is in
            major units already), or the currency is none that the table knows.
    """
    number: object = amount
    if isinstance(number, bool) or not isinstance(number, numbers.Integral):
        rule = "must be a whole number of minor units: what has decimals is in major units already"
        raise _refusal("amount", rule, amount)
    if abs(int(number)) >= _BOUND:
        raise _refusal("amount", "must be below 1e19", amount)
    code: object = currency
    upper = code.upper() if isinstance(code, str) and code.isascii() else ""
    digits = EXPONENTS.get(upper) if exponent is None else exponent
    if digits is None or not upper:
        rule = "must be an ISO 4217 code that has minor units: give the exponent of any other"
        raise _refusal("currency", rule, currency)
    if digits.__class__ is not int or not 0 <= digits <= 9:
        raise _refusal("exponent", "must be a whole number from 0 to 9", exponent)
    return Decimal(f"{int(number)}E-{digits}"), upper


def _refusal(field: str, rule: str, given: object) -> InvalidEventError:
    return InvalidEventError(field, rule, type(given).__name__, subject="from_minor")
