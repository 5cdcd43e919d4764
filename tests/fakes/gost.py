"""A GOST R 34.10-2012 signer in Python alone, by the letter of RFC 7091, section 6.1: in tests nothing is secret."""

import secrets

from signerd.verification.gost import PARAMETER_SETS, encode_spki
from signerd.verification.gost_curves import Point
from signerd.verification.streebog import Streebog

__all__ = ["SoftGost"]


class SoftGost:
    """A key pair of a parameter set."""

    def __init__(self, parameters: str = "TC26-256-A") -> None:
        self.parameters = next(one for one in PARAMETER_SETS if one.name == parameters)
        self.curve = self.parameters.curve
        self._d = 1 + secrets.randbelow(self.curve.q - 1)
        x, y = self._times(self._d)
        size = self.curve.size
        self.spki = encode_spki(self.parameters, x.to_bytes(size, "little") + y.to_bytes(size, "little"))

    def _times(self, factor: int) -> Point:
        point = self.curve.affine(self.curve.multiples.times(factor))
        assert point is not None
        return point

    def sign(self, message: bytes) -> bytes:
        """s, then r, each big-endian."""
        return self.sign_digest(Streebog(self.curve.size, message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """The same over what is taken for the hash."""
        q, size = self.curve.q, self.curve.size
        e = int.from_bytes(digest, "little") % q or 1
        while True:
            k = 1 + secrets.randbelow(q - 1)
            r = self._times(k)[0] % q
            s = (r * self._d + k * e) % q
            if r and s:
                return s.to_bytes(size, "big") + r.to_bytes(size, "big")
