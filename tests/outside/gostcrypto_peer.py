"""Signs or verifies by gostcrypto, in a process of its own: one JSON object on standard input, the answer on standard
output. It takes the hash reversed and writes r before s; both are turned round here, and nothing else is.
"""

import json
import sys

import gostcrypto


def main() -> None:
    asked = json.load(sys.stdin)
    bits, message = asked["bits"], bytearray.fromhex(asked["message"])
    digest = bytearray(reversed(gostcrypto.gosthash.new(f"streebog{bits}", data=message).digest()))
    curve = gostcrypto.gostsignature.CURVES_R_1323565_1_024_2019[asked["curve"]]
    mode = gostcrypto.gostsignature.MODE_256 if bits == 256 else gostcrypto.gostsignature.MODE_512
    signer = gostcrypto.gostsignature.new(mode, curve)
    half = bits // 8
    if "private" in asked:
        private = bytearray.fromhex(asked["private"])
        signed = signer.sign(private, digest)
        answer = {
            "public": signer.public_key_generate(private).hex(),
            "signature": (signed[half:] + signed[:half]).hex(),
            "digest": digest.hex(),
        }
    else:
        signature = bytearray.fromhex(asked["signature"])
        turned = signature[half:] + signature[:half]
        answer = {"verified": signer.verify(bytearray.fromhex(asked["public"]), digest, turned)}
    json.dump(answer, sys.stdout)


main()
