"""Streebog, the hash function of GOST R 34.11-2012 with 256 and 512 bits (RFC 6986), in Python alone.

It is here because a verifier must not depend on the library that signed, and because no library that is installed
everywhere has it. About 1 MB/s: whoever hashes much does it where nobody waits for it.

The standard writes a vector with its most significant byte first, and a message from right to left. Bytes here are
in the order of the file, so a vector is read and written as a little-endian number.
"""

from struct import Struct
from typing import Final, Self

__all__ = ["Streebog", "streebog256", "streebog512"]

_BLOCK: Final = 64
_MASK: Final = (1 << 512) - 1
_PI: Final = bytes.fromhex(
    "fceedd11cf6e3116fbc4fada23c5044de977f0db932e99ba1736f1bb14cd5fc1"
    "f918655ae25cef21811c3c428b018e4f058402aee36a8fa0060bed987fd4d31f"
    "eb342c51eac848abf22a68a2fd3aceccb5700e56080c7612bf7213479cb75d87"
    "15a19629107b9ac7f391786f9d9eb2b13275193dff358a7e6d54c680c3bd0d57"
    "dff524a93ea843c9d779d6f67c22b903e00fecde7a94b0bcdce828504e330a4a"
    "a79760731e0062441ab83882649f2641ad454692275e552f8ca3a57d69d5953b"
    "0758b34086ac1df730376be488d9e789e11b83494c3ff8fe8d53aa90cad88561"
    "207167a42d2b095bcb9b25d0bee56c5259a674d2e6f4b4c0d166afc2394b63b6"
)
"""Section 6.2: the substitution of bytes."""
_L: Final = [
    int(row, 16)
    for row in (
        "8e20faa72ba0b470 47107ddd9b505a38 ad08b0e0c3282d1c d8045870ef14980e "
        "6c022c38f90a4c07 3601161cf205268d 1b8e0b0e798c13c8 83478b07b2468764 "
        "a011d380818e8f40 5086e740ce47c920 2843fd2067adea10 14aff010bdd87508 "
        "0ad97808d06cb404 05e23c0468365a02 8c711e02341b2d01 46b60f011a83988e "
        "90dab52a387ae76f 486dd4151c3dfdb9 24b86a840e90f0d2 125c354207487869 "
        "092e94218d243cba 8a174a9ec8121e5d 4585254f64090fa0 accc9ca9328a8950 "
        "9d4df05d5f661451 c0a878a0a1330aa6 60543c50de970553 302a1e286fc58ca7 "
        "18150f14b9ec46dd 0c84890ad27623e0 0642ca05693b9f70 0321658cba93c138 "
        "86275df09ce8aaa8 439da0784e745554 afc0503c273aa42a d960281e9d1d5215 "
        "e230140fc0802984 71180a8960409a42 b60c05ca30204d21 5b068c651810a89e "
        "456c34887a3805b9 ac361a443d1c8cd2 561b0d22900e4669 2b838811480723ba "
        "9bcf4486248d9f5d c3e9224312c8c1a0 effa11af0964ee50 f97d86d98a327728 "
        "e4fa2054a80b329c 727d102a548b194e 39b008152acb8227 9258048415eb419d "
        "492c024284fbaec0 aa16012142f35760 550b8e9e21f7a530 a48b474f9ef5dc18 "
        "70a6a56e2440598e 3853dc371220a247 1ca76e95091051ad 0edd37c48a08a6d8 "
        "07e095624504536c 8d70c431ac02a736 c83862965601dd1b 641c314b2b8ee083 "
    ).split()
]
"""Section 6.4: the rows of the matrix; the first is for the most significant bit."""
_C: Final = [
    int(value, 16)
    for value in (
        "b1085bda1ecadae9ebcb2f81c0657c1f2f6a76432e45d016714eb88d7585c4fc"
        "4b7ce09192676901a2422a08a460d31505767436cc744d23dd806559f2a64507 "
        "6fa3b58aa99d2f1a4fe39d460f70b5d7f3feea720a232b9861d55e0f16b50131"
        "9ab5176b12d699585cb561c2db0aa7ca55dda21bd7cbcd56e679047021b19bb7 "
        "f574dcac2bce2fc70a39fc286a3d843506f15e5f529c1f8bf2ea7514b1297b7b"
        "d3e20fe490359eb1c1c93a376062db09c2b6f443867adb31991e96f50aba0ab2 "
        "ef1fdfb3e81566d2f948e1a05d71e4dd488e857e335c3c7d9d721cad685e353f"
        "a9d72c82ed03d675d8b71333935203be3453eaa193e837f1220cbebc84e3d12e "
        "4bea6bacad4747999a3f410c6ca923637f151c1f1686104a359e35d7800fffbd"
        "bfcd1747253af5a3dfff00b723271a167a56a27ea9ea63f5601758fd7c6cfe57 "
        "ae4faeae1d3ad3d96fa4c33b7a3039c02d66c4f95142a46c187f9ab49af08ec6"
        "cffaa6b71c9ab7b40af21f66c2bec6b6bf71c57236904f35fa68407a46647d6e "
        "f4c70e16eeaac5ec51ac86febf240954399ec6c7e6bf87c9d3473e33197a93c9"
        "0992abc52d822c3706476983284a05043517454ca23c4af38886564d3a14d493 "
        "9b1f5b424d93c9a703e7aa020c6e41414eb7f8719c36de1e89b4443b4ddbc49a"
        "f4892bcb929b069069d18d2bd1a5c42f36acc2355951a8d9a47f0dd4bf02e71e "
        "378f5a541631229b944c9ad8ec165fde3a7d3a1b258942243cd955b7e00d0984"
        "800a440bdbb2ceb17b2b8a9aa6079c540e38dc92cb1f2a607261445183235adb "
        "abbedea680056f52382ae548b2e4f3f38941e71cff8a78db1fffe18a1b336103"
        "9fe76702af69334b7a1e6c303b7652f43698fad1153bb6c374b4c7fb98459ced "
        "7bcd9ed0efc889fb3002c6cd635afe94d8fa6bbbebab07612001802114846679"
        "8a1d71efea48b9caefbacd1d7d476e98dea2594ac06fd85d6bcaa4cd81f32d1b "
        "378ee767f11631bad21380b00449b17acda43c32bcdf1d77f82012d430219f9b"
        "5d80ef9d1891cc86e71da4aa88e12852faf417d5d9b21b9948bc924af11bd720 "
    ).split()
]
"""Section 6.5: the constants of the rounds."""


def _table(place: int) -> list[int]:
    """Return what a byte at ``place`` of a 64-bit word adds to the word's product with the matrix, after the
    substitution."""
    bits = _L[56 - 8 * place : 64 - 8 * place][::-1]
    table = []
    for byte in _PI:
        word = 0
        for at, row in enumerate(bits):
            if byte >> at & 1:
                word ^= row
        table.append(word)
    return table


_T: Final = tuple([_table(place) for place in range(8)])
_words: Final = Struct("<8Q").pack


def _lps(vector: int) -> int:
    """Substitute the bytes, transpose them as a square of eight by eight, multiply each row (section 7)."""
    v = vector.to_bytes(_BLOCK, "little")
    t0, t1, t2, t3, t4, t5, t6, t7 = _T
    # A line for each row of the result. Written out, for a loop takes half as long again.
    words = _words(
        t0[v[0]] ^ t1[v[8]] ^ t2[v[16]] ^ t3[v[24]] ^ t4[v[32]] ^ t5[v[40]] ^ t6[v[48]] ^ t7[v[56]],
        t0[v[1]] ^ t1[v[9]] ^ t2[v[17]] ^ t3[v[25]] ^ t4[v[33]] ^ t5[v[41]] ^ t6[v[49]] ^ t7[v[57]],
        t0[v[2]] ^ t1[v[10]] ^ t2[v[18]] ^ t3[v[26]] ^ t4[v[34]] ^ t5[v[42]] ^ t6[v[50]] ^ t7[v[58]],
        t0[v[3]] ^ t1[v[11]] ^ t2[v[19]] ^ t3[v[27]] ^ t4[v[35]] ^ t5[v[43]] ^ t6[v[51]] ^ t7[v[59]],
        t0[v[4]] ^ t1[v[12]] ^ t2[v[20]] ^ t3[v[28]] ^ t4[v[36]] ^ t5[v[44]] ^ t6[v[52]] ^ t7[v[60]],
        t0[v[5]] ^ t1[v[13]] ^ t2[v[21]] ^ t3[v[29]] ^ t4[v[37]] ^ t5[v[45]] ^ t6[v[53]] ^ t7[v[61]],
        t0[v[6]] ^ t1[v[14]] ^ t2[v[22]] ^ t3[v[30]] ^ t4[v[38]] ^ t5[v[46]] ^ t6[v[54]] ^ t7[v[62]],
        t0[v[7]] ^ t1[v[15]] ^ t2[v[23]] ^ t3[v[31]] ^ t4[v[39]] ^ t5[v[47]] ^ t6[v[55]] ^ t7[v[63]],
    )  # fmt: skip
    return int.from_bytes(words, "little")


def _compress(number: int, state: int, block: int) -> int:
    """The function g_N (section 8)."""
    key = _lps(state ^ number)
    mixed = key ^ block
    for constant in _C:
        key, mixed = _lps(key ^ constant), _lps(mixed)
        mixed ^= key
    return mixed ^ state ^ block


class Streebog:
    """A hash in the making, with the attributes that :mod:`hashlib`'s have; ``size`` is 32 or 64 bytes."""

    __slots__ = ("_number", "_rest", "_state", "_sum", "digest_size")

    block_size: Final = _BLOCK

    def __init__(self, size: int, data: bytes | memoryview = b"") -> None:
        """Raises ValueError for another size."""
        if size not in (32, 64):
            raise ValueError(f"Streebog has no digest of {size} bytes")
        self.digest_size = size
        # Section 5: the initialisation vector.
        self._state = int.from_bytes(bytes([1]) * _BLOCK, "little") if size == 32 else 0
        self._number = 0
        self._sum = 0
        self._rest = b""
        self.update(data)

    @property
    def name(self) -> str:
        """``Streebog-256`` or ``Streebog-512``."""
        return f"Streebog-{8 * self.digest_size}"

    def update(self, data: bytes | memoryview) -> None:
        """Hash more bytes. Costs some 60 microseconds per 64 of them, holding the interpreter's lock."""
        with memoryview(data) as view, view.cast("B") as octets:
            if len(self._rest) + len(octets) < _BLOCK:
                self._rest += bytes(octets)
                return
            first = _BLOCK - len(self._rest)
            self._block(self._rest + bytes(octets[:first]))
            last = first + (len(octets) - first) // _BLOCK * _BLOCK
            for at in range(first, last, _BLOCK):
                self._block(bytes(octets[at : at + _BLOCK]))
            self._rest = bytes(octets[last:])

    def _block(self, block: bytes) -> None:
        vector = int.from_bytes(block, "little")
        self._state = _compress(self._number, self._state, vector)
        self._number = self._number + 8 * _BLOCK & _MASK
        self._sum = self._sum + vector & _MASK

    def digest(self) -> bytes:
        """Return the hash of all that came so far; more may follow (section 9, stage 3)."""
        vector = int.from_bytes(self._rest + b"\1", "little")
        state = _compress(self._number, self._state, vector)
        state = _compress(0, state, self._number + 8 * len(self._rest) & _MASK)
        state = _compress(0, state, self._sum + vector & _MASK)
        return state.to_bytes(_BLOCK, "little")[-self.digest_size :]

    def hexdigest(self) -> str:
        """Return :meth:`digest` in hex."""
        return self.digest().hex()

    def copy(self) -> Self:
        """Return another that goes on from here by itself."""
        other = type(self)(self.digest_size)
        other._state, other._number, other._sum, other._rest = self._state, self._number, self._sum, self._rest
        return other


def streebog256(data: bytes | memoryview = b"") -> Streebog:
    """Begin a hash of 256 bits; a constructor as :mod:`hmac` wants it."""
    return Streebog(32, data)


def streebog512(data: bytes | memoryview = b"") -> Streebog:
    """Begin a hash of 512 bits."""
    return Streebog(64, data)
