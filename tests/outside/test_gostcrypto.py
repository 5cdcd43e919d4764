"""gostcrypto, an implementation that shares nothing with ours and nothing with OpenSSL's engine, both ways."""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from outside.gost import Gost
from outside.parts import ROOT, the
from signerd.errors import Refusal
from signerd.verification.gost import PARAMETER_SETS, GostKey, encode_spki, gost_key
from signerd.verification.keys import PublicKey
from signerd.verification.streebog import Streebog

pytestmark = pytest.mark.needs("gostcrypto")

CURVES = {
    "TC26-256-A": "id-tc26-gost-3410-2012-256-paramSetA",
    "CryptoPro-A": "id-tc26-gost-3410-2012-256-paramSetB",
    "TC26-256-C": "id-tc26-gost-3410-2012-256-paramSetC",
    "TC26-512-A": "id-tc26-gost-3410-12-512-paramSetA",
    "TC26-512-B": "id-tc26-gost-3410-12-512-paramSetB",
    "TC26-512-C": "id-tc26-gost-3410-2012-512-paramSetC",
}
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"


def peer(**asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(the('gostcrypto'))!r}); exec(sys.argv[1])",
         (ROOT / "tests" / "outside" / "gostcrypto_peer.py").read_text()],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def turned(key: GostKey) -> str:
    """The public key as gostcrypto has it: x and y, each big-endian."""
    size = key.parameters.curve.size
    return "".join(part.to_bytes(size, "big").hex() for part in key.point)


@pytest.mark.parametrize("name", CURVES)
def test_its_signatures_verify_here(name: str) -> None:
    parameters = next(one for one in PARAMETER_SETS if one.name == name)
    size, bits = parameters.curve.size, parameters.bits
    private = (1 + secrets.randbelow(parameters.curve.q - 1)).to_bytes(size, "big")
    made = peer(bits=bits, curve=CURVES[name], message=MESSAGE.hex(), private=private.hex())
    assert bytes.fromhex(made["digest"])[::-1] == Streebog(size, MESSAGE).digest()
    point = bytes.fromhex(made["public"])
    public = PublicKey.from_spki(encode_spki(parameters, point[:size][::-1] + point[size:][::-1]))
    signature = bytes.fromhex(made["signature"])
    public.verify(signature, MESSAGE)
    with pytest.raises(Refusal):
        public.verify(signature[size:] + signature[:size], MESSAGE)


@pytest.mark.needs("gost-engine")
@pytest.mark.parametrize("name", ["TC26-256-A", "CryptoPro-A", "TC26-512-C"])
def test_it_verifies_what_the_engine_signs(tmp_path: Path, name: str) -> None:
    gost = Gost(tmp_path)
    private = gost.new_key(name)
    key = gost_key(PublicKey.from_pem(gost.public(private)).spki)
    bits = key.parameters.bits
    signature = gost.sign(private, bits, MESSAGE)
    asked = {"bits": bits, "curve": CURVES[name], "public": turned(key), "signature": signature.hex()}
    assert peer(message=MESSAGE.hex(), **asked) == {"verified": True}
    assert peer(message=(MESSAGE + b"\0").hex(), **asked) == {"verified": False}
