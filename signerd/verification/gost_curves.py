"""The curves of GOST R 34.10-2012 and the arithmetic that verifying takes (RFC 7091, section 5; RFC 7836; RFC 4357).

Not in constant time, so for public values alone: nothing here may ever see a private key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

__all__ = ["CURVES", "Curve", "Multiples", "Point"]

_WINDOW: Final = 4
_DIGITS: Final = 1 << _WINDOW
WORTH_A_TABLE: Final = 8
"""Products by one point after which a table pays: making one costs as much as some eight of them."""

Point = tuple[int, int]
"""An affine point; infinity is None where it may come."""
_Jacobian = tuple[int, int, int]
"""X, Y, Z for the affine point X/Z², Y/Z³; Z is 0 at infinity."""
_INFINITY: Final = (1, 1, 0)


@dataclass(frozen=True, eq=False)
class Curve:
    """y² = x³ + ax + b modulo ``p``, and the subgroup of prime order ``q`` that ``base`` generates.

    ``cofactor`` is how many such subgroups' sizes the curve has; ``size`` the bytes of a coordinate.
    """

    p: int
    a: int
    b: int
    q: int
    base: Point
    cofactor: int
    size: int

    @cached_property
    def multiples(self) -> "Multiples":
        """The products of ``base``."""
        return Multiples(self, self.base)

    def holds(self, point: Point) -> bool:
        """Whether ``point`` is one of the subgroup, other than infinity, with coordinates below ``p``."""
        x, y = point
        if not (0 <= x < self.p and 0 <= y < self.p and (y * y - (x * x + self.a) * x - self.b) % self.p == 0):
            return False
        return self.cofactor == 1 or self.affine(self._walk(point, self.q)) is None

    def sum(self, left: _Jacobian, right: _Jacobian) -> _Jacobian:
        """Return left + right."""
        affine = self.affine(right)
        return left if affine is None else self._add(left, affine)

    def affine(self, point: _Jacobian) -> Point | None:
        """Return x and y; None for infinity."""
        x, y, z = point
        if not z:
            return None
        inverse = pow(z, -1, self.p)
        square = inverse * inverse % self.p
        return x * square % self.p, y * square * inverse % self.p

    def _double(self, point: _Jacobian) -> _Jacobian:
        x, y, z = point
        p = self.p
        yy = y * y % p
        s = 4 * x * yy % p
        zz = z * z % p
        m = (3 * x * x + self.a * zz * zz) % p
        doubled = (m * m - 2 * s) % p
        return doubled, (m * (s - doubled) - 8 * yy * yy) % p, 2 * y * z % p

    def _add(self, left: _Jacobian, right: Point) -> _Jacobian:
        x1, y1, z1 = left
        if not z1:
            return *right, 1
        p = self.p
        zz = z1 * z1 % p
        h = (right[0] * zz - x1) % p
        r = (right[1] * zz * z1 - y1) % p
        if not h:
            return _INFINITY if r else self._double(left)
        hh = h * h % p
        hhh = h * hh % p
        v = x1 * hh % p
        x = (r * r - hhh - 2 * v) % p
        return x, (r * (v - x) - y1 * hhh) % p, z1 * h % p

    def _walk(self, point: Point, factor: int) -> _Jacobian:
        """Return factor · point, from the top digit down."""
        table = self._digits_of((*point, 1))
        result: _Jacobian = _INFINITY
        for digit in reversed(_digits(factor)):
            for _ in range(_WINDOW):
                result = self._double(result)
            chosen = table[digit]
            if chosen is not None:
                result = self._add(result, chosen)
        return result

    def _digits_of(self, point: _Jacobian) -> list[Point | None]:
        """Return the products of ``point`` by 0, 1, … 15."""
        affine = self.affine(point)
        products: list[_Jacobian] = []
        product: _Jacobian = _INFINITY
        for _ in range(_DIGITS):
            products.append(product)
            product = product if affine is None else self._add(product, affine)
        return self._all_affine(products)

    def _all_affine(self, points: Sequence[_Jacobian]) -> list[Point | None]:
        """Return all of them affine, by one inversion for all (Montgomery's trick)."""
        p, product = self.p, 1
        before: list[int] = []
        for _, _, z in points:
            before.append(product)
            if z:
                product = product * z % p
        inverse = pow(product, -1, p)
        found: list[Point | None] = []
        for (x, y, z), earlier in zip(reversed(points), reversed(before), strict=True):
            if not z:
                found.append(None)
                continue
            own, inverse = inverse * earlier % p, inverse * z % p
            square = own * own % p
            found.append((x * square % p, y * square * own % p))
        return found[::-1]


class Multiples:
    """The products of one point, which get quicker once they are asked for often."""

    def __init__(self, curve: Curve, point: Point) -> None:
        self._curve = curve
        self._point = point
        self._asked = 0
        self._table: list[list[Point | None]] = []

    def times(self, factor: int) -> _Jacobian:
        """Return factor · point, for 0 <= factor < q."""
        if not self._table:
            self._asked += 1
            if self._asked < WORTH_A_TABLE:
                return self._curve._walk(self._point, factor)
            self._table = self._made()
        result: _Jacobian = _INFINITY
        for row, digit in zip(self._table, _digits(factor), strict=False):
            chosen = row[digit]
            if chosen is not None:
                result = self._curve._add(result, chosen)
        return result

    def _made(self) -> list[list[Point | None]]:
        """Return for each digit of a factor the products that it may add."""
        curve = self._curve
        table: list[list[Point | None]] = []
        point: _Jacobian = (*self._point, 1)
        for _ in range(0, curve.q.bit_length(), _WINDOW):
            table.append(curve._digits_of(point))
            for _ in range(_WINDOW):
                point = curve._double(point)
        return table


_HEX: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(_DIGITS)))


def _digits(factor: int) -> bytes:
    """Return the digits of ``factor``, four bits each, the lowest first."""
    return f"{factor:x}".encode().translate(_HEX)[::-1]


CURVES: Final = {
    "TC26-256-A": Curve(
        p=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFD97,
        a=0xC2173F1513981673AF4892C23035A27CE25E2013BF95AA33B22C656F277E7335,
        b=0x295F9BAE7428ED9CCC20E7C359A9D41A22FCCD9108E17BF7BA9337A6F8AE9513,
        q=0x400000000000000000000000000000000FD8CDDFC87B6635C115AF556C360C67,
        base=(
            0x91E38443A5E82C0D880923425712B2BB658B9196932E02C78B2582FE742DAA28,
            0x32879423AB1A0375895786C4BB46E9565FDE0B5344766740AF268ADB32322E5C,
        ),
        cofactor=4,
        size=32,
    ),
    "TC26-256-B": Curve(
        p=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFD97,
        a=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFD94,
        b=0xA6,
        q=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF6C611070995AD10045841B09B761B893,
        base=(
            0x1,
            0x8D91E471E0989CDA27DF505A453F2B7635294F2DDF23E3B122ACC99C9E9F1E14,
        ),
        cofactor=1,
        size=32,
    ),
    "TC26-256-C": Curve(
        p=0x8000000000000000000000000000000000000000000000000000000000000C99,
        a=0x8000000000000000000000000000000000000000000000000000000000000C96,
        b=0x3E1AF419A269A5F866A7D3C25C3DF80AE979259373FF2B182F49D4CE7E1BBC8B,
        q=0x800000000000000000000000000000015F700CFFF1A624E5E497161BCC8A198F,
        base=(
            0x1,
            0x3FA8124359F96680B83D1C3EB2C070E5C545C9858D03ECFB744BF8D717717EFC,
        ),
        cofactor=1,
        size=32,
    ),
    "TC26-256-D": Curve(
        p=0x9B9F605F5A858107AB1EC85E6B41C8AACF846E86789051D37998F7B9022D759B,
        a=0x9B9F605F5A858107AB1EC85E6B41C8AACF846E86789051D37998F7B9022D7598,
        b=0x805A,
        q=0x9B9F605F5A858107AB1EC85E6B41C8AA582CA3511EDDFB74F02F3A6598980BB9,
        base=(
            0x0,
            0x41ECE55743711A8C3CBF3783CD08C0EE4D4DC440D4641A8F366E550DFDB3BB67,
        ),
        cofactor=1,
        size=32,
    ),
    "TC26-512-A": Curve(
        p=int(
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffdc7",
            16,
        ),
        a=int(
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffdc4",
            16,
        ),
        b=int(
            "e8c2505dedfc86ddc1bd0b2b6667f1da34b82574761cb0e879bd081cfd0b6265"
            "ee3cb090f30d27614cb4574010da90dd862ef9d4ebee4761503190785a71c760",
            16,
        ),
        q=int(
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            "27e69532f48d89116ff22b8d4e0560609b4b38abfad2b85dcacdb1411f10b275",
            16,
        ),
        base=(
            0x3,
            int(
                "7503cfe87a836ae3a61b8816e25450e6ce5e1c93acf1abc1778064fdcbefa921"
                "df1626be4fd036e93d75e6a50e3a41e98028fe5fc235f5b889a589cb5215f2a4",
                16,
            ),
        ),
        cofactor=1,
        size=64,
    ),
    "TC26-512-B": Curve(
        p=int(
            "8000000000000000000000000000000000000000000000000000000000000000"
            "000000000000000000000000000000000000000000000000000000000000006f",
            16,
        ),
        a=int(
            "8000000000000000000000000000000000000000000000000000000000000000"
            "000000000000000000000000000000000000000000000000000000000000006c",
            16,
        ),
        b=int(
            "687d1b459dc841457e3e06cf6f5e2517b97c7d614af138bcbf85dc806c4b289f"
            "3e965d2db1416d217f8b276fad1ab69c50f78bee1fa3106efb8ccbc7c5140116",
            16,
        ),
        q=int(
            "8000000000000000000000000000000000000000000000000000000000000001"
            "49a1ec142565a545acfdb77bd9d40cfa8b996712101bea0ec6346c54374f25bd",
            16,
        ),
        base=(
            0x2,
            int(
                "1a8f7eda389b094c2c071e3647a8940f3c123b697578c213be6dd9e6c8ec7335"
                "dcb228fd1edf4a39152cbcaaf8c0398828041055f94ceeec7e21340780fe41bd",
                16,
            ),
        ),
        cofactor=1,
        size=64,
    ),
    "TC26-512-C": Curve(
        p=int(
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffdc7",
            16,
        ),
        a=int(
            "dc9203e514a721875485a529d2c722fb187bc8980eb866644de41c68e1430645"
            "46e861c0e2c9edd92ade71f46fcf50ff2ad97f951fda9f2a2eb6546f39689bd3",
            16,
        ),
        b=int(
            "b4c4ee28cebc6c2c8ac12952cf37f16ac7efb6a9f69f4b57ffda2e4f0de5ade0"
            "38cbc2fff719d2c18de0284b8bfef3b52b8cc7a5f5bf0a3c8d2319a5312557e1",
            16,
        ),
        q=int(
            "3fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            "c98cdba46506ab004c33a9ff5147502cc8eda9e7a769a12694623cef47f023ed",
            16,
        ),
        base=(
            int(
                "e2e31edfc23de7bdebe241ce593ef5de2295b7a9cbaef021d385f7074cea043a"
                "a27272a7ae602bf2a7b9033db9ed3610c6fb85487eae97aac5bc7928c1950148",
                16,
            ),
            int(
                "f5ce40d95b5eb899abbccff5911cb8577939804d6527378b8c108c3d2090ff9b"
                "e18e2d33e3021ed2ef32d85822423b6304f726aa854bae07d0396e9a9addc40f",
                16,
            ),
        ),
        cofactor=4,
        size=64,
    ),
}
"""Of TC26: 256-A and the 512 of RFC 7836 (256-A and 512-C in their Weierstrass form), 256-B to D of RFC 4357, where
they are called CryptoPro A to C."""
