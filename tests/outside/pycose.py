"""Ask pycose, a COSE implementation of its own over python-ecdsa and cbor2: python -I pycose.py FOLDER < requests

Requests and answers are JSON arrays; bytes are hex. ``verify`` answers yes or no with the reason, ``sign`` a message,
``canonical`` the same CBOR item as cbor2 reads it and writes it canonically. A program of its own: what it needs lies
in FOLDER and is none of ours.
"""

import json
import sys
from typing import Any


def key_of(given: dict[str, str]) -> Any:
    from pycose.keys import EC2Key, OKPKey

    parts = {name: bytes.fromhex(given[name]) for name in ("x", "y", "d") if name in given}
    return OKPKey(crv="ED25519", **parts) if given["crv"] == "ED25519" else EC2Key(crv=given["crv"], **parts)


def verify(asked: dict[str, Any]) -> str:
    from pycose.messages import CoseMessage, Sign1Message

    try:
        message = CoseMessage.decode(bytes.fromhex(asked["message"]))
        if not isinstance(message, Sign1Message):
            return f"no {type(message).__name__}"
        message.key = key_of(asked["key"])
        return "yes" if message.verify_signature() and message.payload.hex() == asked["payload"] else "no"
    except Exception as exc:  # noqa: BLE001  # whatever it is, the message is not accepted
        return f"no {type(exc).__name__}: {exc}"


def sign(asked: dict[str, Any]) -> str:
    from pycose.headers import KID, Algorithm, ContentType
    from pycose.messages import Sign1Message

    headers: dict[Any, Any] = {Algorithm: asked["algorithm"], ContentType: "application/vnd.in-toto+json"}
    if asked.get("kid"):
        headers[KID] = bytes.fromhex(asked["kid"])
    message = Sign1Message(phdr=headers, payload=bytes.fromhex(asked["payload"]))
    message.key = key_of(asked["key"])
    return message.encode().hex()


def canonical(asked: dict[str, Any]) -> str:
    import cbor2

    return cbor2.dumps(cbor2.loads(bytes.fromhex(asked["item"])), canonical=True).hex()


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    does = {"verify": verify, "sign": sign, "canonical": canonical}
    json.dump([does[asked["do"]](asked) for asked in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
