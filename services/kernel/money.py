"""Amounts of GNK. On the wire and in the ledger they are whole ngonka (1 GNK = 10⁹ ngonka); never a float."""

import re
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, InvalidOperation

NGONKA_PER_GNK = 10**9
"""Source: the chain's inference-chain/denom.json."""

AMOUNT_LIMIT_NGONKA = 10**18
"""No amount is larger than a billion GNK: beyond it a producer confused its units."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_GNK = re.compile(r"([+-]?)([0-9]{1,10})(?:\.([0-9]{1,9}))?", re.ASCII)
_EIGHT_PLACES = Decimal("0.00000001")
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)
_CUT = Context(prec=60, rounding=ROUND_FLOOR)


def ngonka(value: int | str) -> int:
    """An amount as it stands on the wire (an integer, or its decimal digits as a string) in ngonka.

    Raises ValueError for anything that is not exactly an integer within ±10¹⁸.
    """
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise ValueError(f"not a whole number of ngonka: {value[:40]!r}")
        value = int(value)
    if abs(value) > AMOUNT_LIMIT_NGONKA:
        raise ValueError(f"beyond ±10^18 ngonka: {value}")
    return value


def ngonka_of_gnk(text: str) -> int:
    """A decimal number of GNK with at most 9 places, in ngonka, exactly.

    Raises ValueError for anything else: an exponent, a separator of thousands, a tenth place.
    """
    if not (number := _GNK.fullmatch(text)):
        raise ValueError(f"not a decimal number of GNK with at most 9 places: {text[:40]!r}")
    sign, whole, places = number.groups(default="")
    return ngonka(f"{sign}{whole}{places:0<9}")


def ngonka_of_number(amount_gnk: Decimal) -> int:
    """A number of GNK in ngonka, what is smaller cut off.

    Raises ValueError for what is not finite or not within ±10^18 ngonka.
    """
    try:
        cut = amount_gnk.quantize(Decimal(1).scaleb(-9), context=_CUT)
    except InvalidOperation:  # NaN, an infinity, or far too many digits
        raise ValueError("not a finite number of GNK in range") from None
    return ngonka(int(cut.scaleb(9, context=_CUT)))


def gnk(amount_ngonka: int) -> Decimal:
    """The amount in GNK with 8 places, half away from zero: what PostgreSQL's round(numeric, 8) gives."""
    return _WIDE.divide(Decimal(amount_ngonka), Decimal(NGONKA_PER_GNK)).quantize(_EIGHT_PLACES, context=_WIDE)


def digits(value: Decimal) -> str:
    """All its digits, with the places it has: str() would write 0.00000001 as 1E-8."""
    return f"{value:f}"
