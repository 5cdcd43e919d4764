import pytest

from signerd.verification.gost_curves import CURVES, WORTH_A_TABLE, Curve, Multiples


@pytest.fixture(params=sorted(CURVES))
def curve(request: pytest.FixtureRequest) -> Curve:
    return CURVES[request.param]


def affine(curve: Curve, factor: int) -> tuple[int, int] | None:
    return curve.affine(Multiples(curve, curve.base).times(factor))


def test_the_base_is_on_the_curve_and_its_order_is_q(curve: Curve) -> None:
    assert curve.holds(curve.base)
    x, y = curve.base
    # q · P is infinity exactly if (q - 1) · P is -P.
    assert affine(curve, curve.q - 1) == (x, curve.p - y)


def test_hasse_leaves_no_other_cofactor(curve: Curve) -> None:
    # The number of points is within 2√p of p + 1, and a multiple of q.
    number = curve.cofactor * curve.q
    assert (number - curve.p - 1) ** 2 <= 4 * curve.p


def test_with_a_table_or_without_the_products_are_the_same(curve: Curve) -> None:
    factors = [0, 1, 2, 15, 16, 17, curve.q // 3, curve.q - 1]
    slow = [affine(curve, factor) for factor in factors]
    assert slow[0] is None
    multiples = Multiples(curve, curve.base)
    for _ in range(WORTH_A_TABLE):
        multiples.times(1)
    assert [curve.affine(multiples.times(factor)) for factor in factors] == slow


def test_sums_of_equal_and_of_opposite_points(curve: Curve) -> None:
    multiples = Multiples(curve, curve.base)
    one, most, none = multiples.times(1), multiples.times(curve.q - 1), multiples.times(0)
    assert curve.affine(curve.sum(one, one)) == curve.affine(multiples.times(2))
    assert curve.affine(curve.sum(one, most)) is None
    assert curve.affine(curve.sum(one, none)) == curve.affine(curve.sum(none, one)) == curve.base


def test_points_beside_the_curve_or_above_the_prime_are_none_of_it(curve: Curve) -> None:
    x, y = curve.base
    assert not curve.holds((x, y + 1))
    assert not curve.holds((x + curve.p, y))
    assert not curve.holds((x, y - curve.p))


def test_points_of_a_small_subgroup_are_refused() -> None:
    for curve in (CURVES["TC26-256-A"], CURVES["TC26-512-C"]):
        point = small_order(curve)
        x, y = point
        assert (y * y - (x**3 + curve.a * x + curve.b)) % curve.p == 0
        assert not curve.holds(point)


def small_order(curve: Curve) -> tuple[int, int]:
    """A point outside the subgroup: the first x that gives one (both primes are 3 modulo 4)."""
    assert curve.p % 4 == 3
    for x in range(1, 200):
        square = (x**3 + curve.a * x + curve.b) % curve.p
        y = pow(square, (curve.p + 1) // 4, curve.p)
        if y * y % curve.p == square and not curve.holds((x, y)):
            return x, y
    raise AssertionError("three points in four are outside the subgroup")
