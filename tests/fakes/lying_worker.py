"""A key worker that speaks the worker protocol and lies in one chosen way (T17).

``python -m fakes.lying_worker --mode MODE [--knows REF] --fd N``. It describes a real P-256 key under any reference,
so that the sealer pins it, or under REF alone, then the same one each time, and misbehaves when it is asked to sign:

=============  =========================================================================================
honest         signs as it should
hang           never answers a signature
crash          ends by SIGKILL with the request unanswered
late           answers rightly after ``--delay`` seconds, in the order of the questions
wrong_key      signs with another key and says so honestly
stolen_id      signs with another key under the keyid of the first
altered        flips a bit of the signature
other_message  signs another digest
truncated      returns half a signature
empty          returns an empty one
oversize       announces a frame of 8 MiB
huge           returns a signature of 3 MiB
twice          answers every request twice
foreign        answers an id that nobody asked
garbage        sends bytes that are no frame of msgpack
missing        leaves the last outcome of a batch away
surplus        adds an outcome to a batch
both           says ok and error in one outcome
code           refuses with a code that is none of a key worker's
noise          signs as it should and floods standard output meanwhile
descriptor     sends a descriptor with its answer
forks          leaves a process that holds the link and every other descriptor, and ends with the request unanswered
escapes        the same, by a process in a session of its own, which no signal to the worker's group reaches
leaves         signs as it should, and leaves such a process each time
=============  =========================================================================================
"""

import argparse
import hashlib
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.host.hardening import harden

MODES = (
    "honest hang crash late wrong_key stolen_id altered other_message truncated empty oversize huge "
    "twice foreign garbage missing surplus both code noise descriptor forks escapes leaves"
).split()

Map = dict[str, object]
LONGEST = 4 << 20
"""Bytes of a frame."""


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def keyid(key: ec.EllipticCurvePrivateKey) -> str:
    return f"sha256:{hashlib.sha256(spki(key)).hexdigest()}"


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    return key.sign(digest, ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True))


class Liar:
    def __init__(self, link: socket.socket, mode: str, delay: float, knows: str = "") -> None:
        self.link = link
        self.knows = knows
        self.mode = mode
        self.delay = delay
        self.key = ec.generate_private_key(ec.SECP256R1())
        if knows:
            self.key = ec.derive_private_key(int.from_bytes(hashlib.sha256(knows.encode()).digest()), ec.SECP256R1())
        self.other = ec.generate_private_key(ec.SECP256R1())

    def run(self) -> None:
        while (message := self.receive()) is not None:
            if message["type"] == "hello":
                versions = message["versions"]
                assert isinstance(versions, list)
                if 1 not in versions:
                    self.send_error("request.unsupported", "version")
                    return
                self.send(
                    {
                        "type": "hello",
                        "versions": [1],
                        "software": "liar",
                        "version": 1,
                        "nonce": os.urandom(16),
                    }
                )
            elif message["type"] == "request":
                self.request(message)

    def receive(self) -> Map | None:
        header = self.exactly(4)
        if header is None:
            return None
        size = struct.unpack(">I", header)[0]
        body = self.exactly(size) if size <= LONGEST else None
        if body is None:
            return None
        try:
            decoded: Map = msgspec.msgpack.decode(body)
        except msgspec.DecodeError:
            return None
        return decoded

    def exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            part = self.link.recv(size - len(data))
            if not part:
                return None
            data += part
        return data

    def send(self, message: Map, fds: list[int] | None = None) -> None:
        body = msgspec.msgpack.encode(message)
        data = struct.pack(">I", len(body)) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        sent = self.link.sendmsg([data], rights)
        self.link.sendall(data[sent:])

    def send_error(self, code: object, reason: object, identifier: object = None) -> None:
        named = {} if identifier is None else {"id": identifier}
        details = {"reason": reason}
        self.send({"type": "error", "code": code, "message": "", "retryable": False, "details": details, **named})

    def request(self, message: Map) -> None:
        method, params = message["method"], message["params"]
        items = params.get("items") if method == "batch" and isinstance(params, dict) else []
        if not isinstance(params, dict) or not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            self.send_error("request.malformed", "wrong_type", message["id"])
            return
        signs = method == "sign" or any(i["method"] == "sign" for i in items)
        if signs:
            self.misbehave_before(message)
        result: Map
        if method == "batch":
            result = {"outcomes": [self.outcome(item["method"], item["params"]) for item in items]}
            if signs and self.mode == "missing":
                result["outcomes"] = result["outcomes"][:-1]  # type: ignore[index]  # a list, made above
            if signs and self.mode == "surplus":
                result["outcomes"] = [*result["outcomes"], self.outcome("describe", {})]  # type: ignore[misc]
        else:
            outcome = self.outcome(str(method), params)
            if "ok" not in outcome:
                error = outcome["error"]
                assert isinstance(error, dict)
                self.send_error(error["code"], error["reason"], message["id"])
                return
            result = outcome["ok"]  # type: ignore[assignment]  # a map, made by outcome()
        answer: Map = {"type": "response", "id": message["id"], "result": result}
        self.send(answer, [os.open(os.devnull, os.O_RDONLY)] if signs and self.mode == "descriptor" else None)
        if signs and self.mode == "twice":
            self.send(answer)

    def misbehave_before(self, message: Map) -> None:
        if self.mode == "hang":
            time.sleep(3600)
        elif self.mode == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.mode == "late":
            time.sleep(self.delay)
        elif self.mode == "oversize":
            self.link.sendall(struct.pack(">I", 8 << 20))
        elif self.mode == "garbage":
            self.link.sendall(struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1")
        elif self.mode == "foreign":
            identifier = message["id"]
            assert isinstance(identifier, int)
            self.send({"type": "response", "id": identifier + 1000, "result": {"outcomes": []}})
        elif self.mode in ("forks", "escapes", "leaves"):
            self.fork()
        elif self.mode == "noise":
            sys.stdout.write("noise\n" * 20)
            sys.stdout.flush()

    def fork(self) -> None:
        """Leave a process behind, say which, and end unless the mode says otherwise; it ends with the sealer's link."""
        if child := os.fork():
            while self.mode != "forks" and os.getpgid(child) != child:
                time.sleep(0.001)
            os.write(2, b"left: %d\n" % child)
            if self.mode != "leaves":
                os.kill(os.getpid(), signal.SIGKILL)
            return
        if self.mode != "forks":
            os.setsid()
        # By poll: to read would be to take from the worker's own requests.
        poll = select.poll()
        poll.register(self.link, 0)
        poll.poll(60_000)
        os._exit(0)

    def what_is_wrong(self, method: str, params: Map) -> tuple[str, str] | None:
        message = params.get("message")
        wrong = None
        if method not in ("describe", "sign"):
            wrong = "request.unsupported", "method"
        elif not isinstance(params.get("key"), str) or (method == "sign" and not isinstance(message, bytes)):
            wrong = "request.malformed", "wrong_type"
        elif self.knows and params["key"] != self.knows:
            wrong = "key.not_found", "no_such_key"
        elif method == "sign" and self.mode == "code":
            wrong = "auth.required", "lie"
        elif isinstance(message, bytes) and len(message) != 32:
            wrong = "key.backend_fault", "digest_length"
        return wrong

    def outcome(self, method: str, params: Map) -> Map:
        if (wrong := self.what_is_wrong(method, params)) is not None:
            return {"error": {"code": wrong[0], "reason": wrong[1], "message": "no"}}
        if method == "describe":
            return {
                "ok": {
                    "algorithm": "ES256",
                    "keyid": keyid(self.key),
                    "spki": spki(self.key),
                    "prehash": "sha256",
                    "capabilities": [],
                }
            }
        digest = params["message"]
        assert isinstance(digest, bytes)
        ok: Map = {
            "signature": self.signature(digest),
            "keyid": keyid(self.other if self.mode == "wrong_key" else self.key),
        }
        if self.mode == "both":
            return {"ok": ok, "error": {"code": "key.backend_fault", "reason": "lie", "message": "no"}}
        return {"ok": ok}

    def signature(self, digest: bytes) -> bytes:
        if self.mode in ("wrong_key", "stolen_id"):
            return sign(self.other, digest)
        if self.mode == "other_message":
            return sign(self.key, bytes(32))
        signature = sign(self.key, digest)
        if self.mode == "altered":
            return signature[:-1] + bytes([signature[-1] ^ 1])
        if self.mode == "truncated":
            return signature[: len(signature) // 2]
        if self.mode == "empty":
            return b""
        return bytes(3 << 20) if self.mode == "huge" else signature


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--delay", type=float, default=5.0)
    parser.add_argument("--knows", default="")
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    harden(die_with_parent=True)  # so that a liar that hangs outlives no test
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Liar(socket.socket(fileno=arguments.fd), arguments.mode, arguments.delay, arguments.knows).run()


if __name__ == "__main__":
    main()
