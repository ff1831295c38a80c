from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.money import AMOUNT_LIMIT_NGONKA, gnk, ngonka


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, "0.00000000"),
        (3805, "0.00000381"),
        (3804, "0.00000380"),
        (-3805, "-0.00000381"),
        (5, "0.00000001"),
        (4, "0.00000000"),
        (48552031736571, "48552.03173657"),
        (10**18, "1000000000.00000000"),
        (10**21 + 5, "1000000000000.00000001"),
    ],
)
def test_ngonka_become_gnk_half_away_from_zero(amount: int, expected: str) -> None:
    assert gnk(amount) == Decimal(expected)


@given(st.integers(-AMOUNT_LIMIT_NGONKA, AMOUNT_LIMIT_NGONKA))
def test_digits_and_integers_are_the_same_amount(amount: int) -> None:
    assert ngonka(str(amount)) == ngonka(amount) == amount


@pytest.mark.parametrize("value", ["", " 1", "1.0", "1e3", "0x1", "٣", "--1", "1" * 20, AMOUNT_LIMIT_NGONKA + 1])
def test_anything_else_is_no_amount(value: int | str) -> None:
    with pytest.raises(ValueError, match="ngonka"):
        ngonka(value)
