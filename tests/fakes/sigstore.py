"""A Sigstore of the tests' own: a certificate authority with a CT log, transparency logs v1 and v2, a timestamp
authority, witnesses, and the trusted root that names them.

Real keys and signatures; whoever uses it says which part lies and how. Structures are written here by hand, apart from
the code that reads them.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from signerd.sealer.tree import inclusion_proof, leaf_hash, tree_root

__all__ = [
    "ISSUER",
    "NOW",
    "SAN",
    "CtLog",
    "Issued",
    "Sigstore",
    "Witnessing",
    "b64",
    "der",
    "jcs",
    "new_key",
    "oid",
    "signature_of",
    "spki",
]

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SAN = "https://ci.example/release.yml@refs/heads/main"
ISSUER = "https://token.ci.example"
V3 = "application/vnd.dev.sigstore.bundle.v0.3+json"
SCT_OID = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER_OID = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
CODE_SIGNING, TIME_STAMPING = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING

Key = ec.EllipticCurvePrivateKey
Changes = Callable[[dict[str, Any]], None]


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: Key | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def jcs(value: object) -> bytes:
    """RFC 8785 of values that hold ASCII text and small numbers alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = [40 * first + second]
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        content += reversed(groups)
    return der(0x06, bytes(content))


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass
class Issued:
    """A certificate authority: its certificate and key."""

    certificate: x509.Certificate
    key: Key

    @classmethod
    def root(cls, common: str, **window: datetime) -> "Issued":
        key = new_key()
        return cls(_authority(name(common), name(common), key, key, None, None, **window), key)

    def intermediate(
        self, common: str, *, usage: ObjectIdentifier | None = CODE_SIGNING, **window: datetime
    ) -> "Issued":
        key = new_key()
        subject = self.certificate.subject
        return Issued(_authority(name(common), subject, key, self.key, 0, usage, **window), key)


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    signer: Key,
    depth: int | None,
    usage: ObjectIdentifier | None,
    start: datetime = NOW - timedelta(days=365),
    end: datetime = NOW + timedelta(days=3650),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(True, depth), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signer, SHA256())


@dataclass
class CtLog:
    """A CT log that signs SCTs over precertificates (RFC 6962, section 3.2)."""

    key: Key = field(default_factory=new_key)

    @property
    def log_id(self) -> bytes:
        return hashlib.sha256(spki(self.key)).digest()

    def sct(self, precertificate: x509.Certificate, issuer: Issued, at: datetime = NOW) -> bytes:
        milliseconds = int(at.timestamp() * 1000).to_bytes(8, "big")
        body = precertificate.tbs_certificate_bytes
        signed = b"".join(
            (
                b"\0\0",
                milliseconds,
                b"\0\1",
                hashlib.sha256(spki(issuer.key)).digest(),
                len(body).to_bytes(3, "big"),
                body,
                b"\0\0",
            )
        )
        signature = self.key.sign(signed, ec.ECDSA(SHA256()))
        return b"".join(
            (b"\0", self.log_id, milliseconds, b"\0\0", b"\4\3", len(signature).to_bytes(2, "big"), signature)
        )


@dataclass
class Witnessing:
    """A witness that cosigns whatever it is shown."""

    name: str = "witness.example"
    key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def _encoded(self) -> bytes:
        return b"\4" + self.key.public_key().public_bytes_raw()

    @property
    def hint(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self._encoded).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.hint.hex()}+{b64(self._encoded)}"

    def line(self, body: bytes, at: datetime = NOW) -> str:
        stamp = int(at.timestamp())
        signature = self.key.sign(b"cosignature/v1\ntime %d\n" % stamp + body)
        return f"\N{EM DASH} {self.name} {b64(self.hint + stamp.to_bytes(8, 'big') + signature)}\n"


class Sigstore:
    """The whole stack. Every method gives what an honest one would; arguments make it lie."""

    def __init__(self) -> None:
        self.root = Issued.root("ca root")
        self.ca = self.root.intermediate("ca")
        self.ct = CtLog()
        self.rekor1 = new_key()
        self.rekor2 = ed25519.Ed25519PrivateKey.generate()
        self.host = "rekor.example"
        self.tsa_root = Issued.root("tsa root")
        self.tsa_key = new_key()
        self.tsa = self.tsa_leaf()

    # Certificates

    def leaf(
        self,
        key: Key,
        *,
        san: str = SAN,
        issuer: str = ISSUER,
        start: datetime = NOW - timedelta(minutes=1),
        end: datetime = NOW + timedelta(minutes=9),
        usage: ObjectIdentifier | None = CODE_SIGNING,
        ca: Issued | None = None,
        scts: Sequence[CtLog] | None = None,
        sct_at: datetime = NOW,
        sct_over: Callable[[x509.Certificate], x509.Certificate] = lambda certificate: certificate,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        signer = ca or self.ca
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(san)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER_OID, der(0x0C, issuer.encode())), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        precertificate = sct_over(builder.sign(signer.key, SHA256()))
        logs = [self.ct] if scts is None else scts
        if logs:
            found = [log.sct(precertificate, signer, sct_at) for log in logs]
            listed = b"".join(len(sct).to_bytes(2, "big") + sct for sct in found)
            value = der(0x04, len(listed).to_bytes(2, "big") + listed)
            builder = builder.add_extension(x509.UnrecognizedExtension(SCT_OID, value), critical=False)
        return builder.sign(signer.key, SHA256()).public_bytes(Encoding.DER)

    def tsa_leaf(
        self,
        *,
        start: datetime = NOW - timedelta(days=30),
        end: datetime = NOW + timedelta(days=30),
        usage: ObjectIdentifier = TIME_STAMPING,
        critical: bool = True,
        authority: Issued | None = None,
    ) -> x509.Certificate:
        signer = authority or self.tsa_root
        return (
            x509.CertificateBuilder()
            .subject_name(name("tsa"))
            .issuer_name(signer.certificate.subject)
            .public_key(self.tsa_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical)
            .sign(signer.key, SHA256())
        )

    # Timestamps (RFC 3161)

    def stamp(
        self,
        message: bytes,
        at: datetime = NOW,
        *,
        key: Key | None = None,
        certificate: x509.Certificate | None = None,
        embed: bool = False,
        status: int = 0,
        commits_to: x509.Certificate | None = None,
        nonce: bytes = b"",
        imprint: bytes | None = None,
    ) -> bytes:
        leaf = certificate or self.tsa
        sha256 = der(0x30, oid("2.16.840.1.101.3.4.2.1"))
        info = der(
            0x30,
            der(0x02, b"\1"),
            oid("1.3.6.1.4.1.57264.2"),
            der(0x30, sha256, der(0x04, imprint or hashlib.sha256(message).digest())),
            der(0x02, b"\x2a"),
            der(0x18, at.strftime("%Y%m%d%H%M%SZ").encode()),
            nonce,
        )
        committed = (commits_to or leaf).public_bytes(Encoding.DER)
        values = der(
            0x31,
            der(0x30, oid("1.2.840.113549.1.9.3"), der(0x31, oid("1.2.840.113549.1.9.16.1.4"))),
            der(0x30, oid("1.2.840.113549.1.9.4"), der(0x31, der(0x04, hashlib.sha256(info).digest()))),
            der(
                0x30,
                oid("1.2.840.113549.1.9.16.2.47"),
                der(0x31, der(0x30, der(0x30, der(0x30, der(0x04, hashlib.sha256(committed).digest()))))),
            ),
        )
        serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
        signer = der(
            0x30,
            der(0x02, b"\1"),
            der(0x30, leaf.issuer.public_bytes(), der(0x02, serial)),
            sha256,
            b"\xa0" + values[1:],
            der(0x30, oid("1.2.840.10045.4.3.2")),
            der(0x04, (key or self.tsa_key).sign(values, ec.ECDSA(SHA256()))),
        )
        data = der(
            0x30,
            der(0x02, b"\3"),
            der(0x31, sha256),
            der(0x30, oid("1.2.840.113549.1.9.16.1.4"), der(0xA0, der(0x04, info))),
            der(0xA0, leaf.public_bytes(Encoding.DER)) if embed else b"",
            der(0x31, signer),
        )
        content = der(0x30, oid("1.2.840.113549.1.7.2"), der(0xA0, data))
        return der(0x30, der(0x30, der(0x02, bytes((status,)))), content)

    # Transparency logs

    @property
    def rekor1_id(self) -> bytes:
        return hashlib.sha256(spki(self.rekor1)).digest()

    @property
    def rekor2_id(self) -> bytes:
        return hashlib.sha256(self.host.encode() + b"\n\1" + self.rekor2.public_key().public_bytes_raw()).digest()

    def checkpoint(
        self,
        size: int,
        root: bytes,
        *,
        origin: str | None = None,
        witnesses: Sequence[Witnessing] = (),
        key: ed25519.Ed25519PrivateKey | None = None,
    ) -> str:
        """A checkpoint of the v2 log."""
        said = origin or self.host
        body = f"{said}\n{size}\n{b64(root)}\n"
        signature = (key or self.rekor2).sign(body.encode())
        lines = [witness.line(body.encode()) for witness in witnesses]
        return f"{body}\n\N{EM DASH} {said} {b64(self.rekor2_id[:4] + signature)}\n{''.join(lines)}"

    def entry2(self, body: dict[str, Any] | bytes, **checkpoint: Any) -> dict[str, Any]:
        """An entry of the v2 log, leaf 2 of 5."""
        encoded = body if isinstance(body, bytes) else jcs(body)
        hashes = [leaf_hash(b"other %d" % n) for n in range(5)]
        hashes[2] = leaf_hash(encoded)
        root = tree_root(hashes)
        return {
            "logIndex": "2",
            "logId": {"keyId": b64(self.rekor2_id)},
            "kindVersion": {"kind": json.loads(encoded)["kind"], "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": "2",
                "rootHash": b64(root),
                "treeSize": "5",
                "hashes": [b64(node) for node in inclusion_proof(hashes, 2)],
                "checkpoint": {"envelope": self.checkpoint(5, root, **checkpoint)},
            },
            "canonicalizedBody": b64(encoded),
        }

    def entry1(
        self,
        body: dict[str, Any],
        *,
        at: datetime = NOW,
        promise: bool = True,
        proof: bool = True,
        key: Key | None = None,
    ) -> dict[str, Any]:
        """An entry of the v1 log, leaf 1 of 3 of its shard."""
        encoded = jcs(body)
        hashes = [leaf_hash(b"a"), leaf_hash(encoded), leaf_hash(b"c")]
        root, seconds = tree_root(hashes), int(at.timestamp())
        entry: dict[str, Any] = {
            "logIndex": "1001",
            "logId": {"keyId": b64(self.rekor1_id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": str(seconds),
            "canonicalizedBody": b64(encoded),
        }
        if promise:
            said = {
                "body": b64(encoded),
                "integratedTime": seconds,
                "logID": self.rekor1_id.hex(),
                "logIndex": 1001,
            }
            signature = (key or self.rekor1).sign(jcs(said), ec.ECDSA(SHA256()))
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(signature)}
        if proof:
            note = f"{self.host} - 42\n3\n{b64(root)}\n"
            signature = (key or self.rekor1).sign(note.encode(), ec.ECDSA(SHA256()))
            line = f"\N{EM DASH} {self.host} {b64(self.rekor1_id[:4] + signature)}\n"
            entry["inclusionProof"] = {
                "logIndex": "1",
                "rootHash": b64(root),
                "treeSize": "3",
                "hashes": [b64(node) for node in inclusion_proof(hashes, 1)],
                "checkpoint": {"envelope": f"{note}\n{line}"},
            }
        return entry

    @staticmethod
    def hashedrekord2(digest: bytes, signature: bytes, verifier: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
                    "signature": {
                        "content": b64(signature),
                        "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", **verifier},
                    },
                }
            },
        }

    # The trusted root

    def trusted_root(self, change: Changes = lambda root: None) -> bytes:
        start = {"start": "2026-01-01T00:00:00Z"}

        def log(key: Key | ed25519.Ed25519PrivateKey, details: str, log_id: bytes) -> dict[str, Any]:
            return {
                "baseUrl": f"https://{self.host}:3003",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": b64(spki(key)), "keyDetails": details, "validFor": dict(start)},
                "logId": {"keyId": b64(log_id)},
            }

        def authority(*chain: x509.Certificate) -> dict[str, Any]:
            certificates = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in chain]
            return {
                "subject": {"organization": "example", "commonName": "example"},
                "uri": "https://authority.example",
                "certChain": {"certificates": certificates},
                "validFor": dict(start),
            }

        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log(self.rekor1, "PKIX_ECDSA_P256_SHA_256", self.rekor1_id),
                log(self.rekor2, "PKIX_ED25519", self.rekor2_id),
            ],
            "certificateAuthorities": [authority(self.ca.certificate, self.root.certificate)],
            "ctlogs": [log(self.ct.key, "PKIX_ECDSA_P256_SHA_256", self.ct.log_id)],
            "timestampAuthorities": [authority(self.tsa, self.tsa_root.certificate)],
        }
        change(root)
        return json.dumps(root).encode()

    # Bundles

    def keyless(
        self,
        payload: bytes,
        *,
        key: Key | None = None,
        leaf: bytes | None = None,
        stamps: Callable[[bytes], Sequence[bytes]] | None = None,
        entries: Callable[[bytes, bytes], Sequence[dict[str, Any]]] | None = None,
        **checkpoint: Any,
    ) -> dict[str, Any]:
        """A bundle over an envelope: certificate, Rekor v2 entry, stamp. ``stamps`` and ``entries`` are given the
        signature, and the PAE's digest with the signature."""
        kind = "application/vnd.in-toto+json"
        signing = key or new_key()
        certificate = leaf or self.leaf(signing)
        message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        signature = signing.sign(message, ec.ECDSA(SHA256()))
        digest = hashlib.sha256(message).digest()
        verifier = {"x509Certificate": {"rawBytes": b64(certificate)}}
        logged = (
            [self.entry2(self.hashedrekord2(digest, signature, verifier), **checkpoint)]
            if entries is None
            else list(entries(digest, signature))
        )
        stamped = [self.stamp(signature)] if stamps is None else list(stamps(signature))
        return {
            "mediaType": V3,
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate)},
                "tlogEntries": logged,
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": b64(stamp)} for stamp in stamped]
                },
            },
            "dsseEnvelope": {
                "payload": b64(payload),
                "payloadType": kind,
                "signatures": [{"sig": b64(signature)}],
            },
        }


def signature_of(bundle: dict[str, Any]) -> bytes:
    """The signature of a bundle over an envelope."""
    return b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
