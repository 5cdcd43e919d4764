"""What a token holds of one key: the private key itself, its public half, its certificates.

A public half that only lies beside a private key proves nothing: :mod:`signerd_key_pkcs11.backend` has the
private key sign before it believes one.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pkcs11
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass, SlotFlag, exceptions

from signerd.errors import Refusal, SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_pkcs11.algorithms import CURVES
from signerd_key_pkcs11.failures import fault, forbidden, not_found
from signerd_key_pkcs11.gost import KEY_TYPES, certified_key, public_key
from signerd_key_pkcs11.uri import KeyUri

__all__ = ["certificates", "find_private", "made_in_hardware", "public_halves", "taken"]

_log = logging.getLogger(__name__)

MOST_CERTIFICATES: Final = 64
"""Objects looked at; a token with more is an archive."""
LONGEST_CHAIN: Final = 8
_EC: Final[dict[bytes, tuple[type[ec.EllipticCurve], int]]] = {
    CURVES["ES256"]: (ec.SECP256R1, 65),
    CURVES["ES384"]: (ec.SECP384R1, 97),
    CURVES["ES512"]: (ec.SECP521R1, 133),
}
_ED25519: Final = (CURVES["Ed25519"], b"\x13\x0cedwards25519")
"""CKA_EC_PARAMS by object identifier, or by name as PKCS#11 v3.0, section 2.3.10 has it."""
_ABSENT: Final = (exceptions.AttributeTypeInvalid, exceptions.AttributeSensitive, exceptions.FunctionFailed)


def find_private(session: pkcs11.Session, uri: KeyUri) -> pkcs11.PrivateKey:
    """Return the private key that ``uri`` names.

    ``key.not_found``; ``key.forbidden``: ``ambiguous`` (several: the reference must say which by ``id=``),
    ``not_for_signing``, ``always_authenticate`` (a PIN for each signature, which no unattended signer should
    give). Raises PKCS11Error.
    """
    found = list(session.get_objects(_template(ObjectClass.PRIVATE_KEY, uri.object, uri.id)))
    if not found:
        raise not_found("no_such_key", "the token has no such private key")
    if len(found) > 1:
        raise forbidden("ambiguous", "the key reference fits several keys", f"{len(found)} keys fit: say which by id=")
    key = found[0]
    if _attribute(key, Attribute.ALWAYS_AUTHENTICATE):
        raise forbidden("always_authenticate", "the key wants its PIN for each signature")
    if not isinstance(key, pkcs11.PrivateKey) or not isinstance(key, pkcs11.SignMixin):
        raise forbidden("not_for_signing", "the key is not for signatures")
    return key


def taken(session: pkcs11.Session, uri: KeyUri) -> bool:
    """Whether any object of the token has the label or the id of ``uri``. Raises PKCS11Error."""
    wanted = ((Attribute.LABEL, uri.object), (Attribute.ID, uri.id))
    return any(list(session.get_objects({name: value})) for name, value in wanted if value is not None)


def made_in_hardware(token: pkcs11.Token, key: pkcs11.PrivateKey) -> bool:
    """Whether the module says that ``key`` was made in hardware, was always secret there and can never leave it.

    CKA_LOCAL, CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE, which only the token itself sets (PKCS#11 v3.0, section
    4.9), and CKF_HW_SLOT: a software token keeps its keys in files, whatever it says of them. It is the module's word,
    and no attestation by the maker of the hardware. Raises PKCS11Error.
    """
    said = (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    return SlotFlag.HW_SLOT in token.slot.flags and all(_attribute(key, name) is True for name in said)


def public_halves(session: pkcs11.Session, key: pkcs11.PrivateKey) -> Iterator[PublicKey]:
    """Yield what may be the public half of ``key``: from the private key, from public keys of its id or label, from
    certificates. Each once.

    ``key.algorithm_refused`` for a kind of key that signerd does not sign with. Raises PKCS11Error.
    """
    seen: set[bytes] = set()
    kind = _key_type(key)
    for der in _spkis(session, key, kind):
        if der not in seen:
            seen.add(der)
            try:
                yield PublicKey.from_spki(der)
            except SignerdError as exc:
                if exc.code == "key.algorithm_refused":
                    raise
                _log.warning("a public key of the token cannot be read: %s", exc)


def certificates(session: pkcs11.Session, key: pkcs11.PrivateKey, public: PublicKey) -> tuple[bytes, ...]:
    """Return the key's own certificate and those that issued it, leaf first, in DER; empty where it has none.

    Of several own ones the youngest counts. A certificate of the key's id for another key is told to the
    operator and left out. Roots are left out: a verifier must bring its own. Raises PKCS11Error.
    """
    own = []
    for found in _certificates(session, key):
        if _spki_of(found) == public.spki:
            own.append(found)
        else:
            _log.warning("a certificate with the id or label of key %s is another key's", public.keyid)
    if not own:
        return ()
    chain = [max(own, key=lambda each: each.not_valid_before_utc)]
    others = list(_loaded(session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})))
    while len(chain) < LONGEST_CHAIN and (issuer := _issuer(chain[-1], others)) is not None:
        chain.append(issuer)
    return tuple(each.public_bytes(Encoding.DER) for each in chain)


def _issuer(of: x509.Certificate, among: Sequence[x509.Certificate]) -> x509.Certificate | None:
    if of.subject == of.issuer:
        return None
    for each in among:
        if each.subject == of.issuer and each.subject != each.issuer:
            try:
                of.verify_directly_issued_by(each)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                continue
            except Exception as exc:  # noqa: BLE001  # InvalidSignature, and whatever a strange certificate brings
                _log.info("a certificate of the token is not of its issuer: %s", type(exc).__name__)
                continue
            return each
    return None


def _template(kind: ObjectClass, label: str | None, identifier: bytes | None) -> dict[Attribute, Any]:
    template: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if label is not None:
        template[Attribute.LABEL] = label
    if identifier is not None:
        template[Attribute.ID] = identifier
    return template


def _beside(session: pkcs11.Session, key: pkcs11.PrivateKey, kind: ObjectClass) -> Iterator[pkcs11.Object]:
    """Yield the objects of a kind that have the key's id, then those that have its label."""
    identifier, label = _attribute(key, Attribute.ID), _attribute(key, Attribute.LABEL)
    if identifier:
        yield from list(session.get_objects(_template(kind, None, identifier)))
    if label:
        yield from list(session.get_objects(_template(kind, label, None)))


def _certificates(session: pkcs11.Session, key: pkcs11.PrivateKey) -> Iterator[x509.Certificate]:
    seen: set[bytes] = set()
    for found in _loaded(_beside(session, key, ObjectClass.CERTIFICATE)):
        der = found.public_bytes(Encoding.DER)
        if der not in seen:
            seen.add(der)
            yield found


def _loaded(objects: Iterator[pkcs11.Object]) -> Iterator[x509.Certificate]:
    for found in list(objects)[:MOST_CERTIFICATES]:
        der = _attribute(found, Attribute.VALUE)
        try:
            yield x509.load_der_x509_certificate(der or b"")
        except (ValueError, TypeError):
            _log.info("a certificate of the token cannot be read")


def _spki_of(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return certified_key(certificate)


def _spkis(session: pkcs11.Session, key: pkcs11.PrivateKey, kind: KeyType) -> Iterator[bytes]:
    for candidate in (key, *_beside(session, key, ObjectClass.PUBLIC_KEY)):
        spki = _spki(candidate, kind)
        if spki is not None:
            yield spki
    for certificate in _certificates(session, key):
        spki = _spki_of(certificate)
        if spki is not None:
            yield spki


def _spki(found: pkcs11.Object, kind: KeyType) -> bytes | None:
    try:
        if kind in KEY_TYPES:
            return _gost(found, kind)
        public = _rsa(found) if kind is KeyType.RSA else _curve(found)
    except ValueError:
        raise fault("public_key_malformed", "a public key of the token cannot be read") from None
    if public is None:
        return None
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _rsa(found: pkcs11.Object) -> rsa.RSAPublicKey | None:
    modulus, exponent = _attribute(found, Attribute.MODULUS), _attribute(found, Attribute.PUBLIC_EXPONENT)
    if not modulus or not exponent:
        return None
    return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()


def _gost(found: pkcs11.Object, kind: KeyType) -> bytes | None:
    # CKA_VALUE of a private key is the secret itself, should a token ever show it.
    if isinstance(found, pkcs11.PrivateKey):
        return None
    parameters, value = _attribute(found, Attribute.GOSTR3410_PARAMS), _attribute(found, Attribute.VALUE)
    if not parameters or not value:
        return None
    return public_key(kind, parameters, _attribute(found, Attribute.GOSTR3411_PARAMS), value)


def _curve(found: pkcs11.Object) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None:
    params, point = _attribute(found, Attribute.EC_PARAMS), _attribute(found, Attribute.EC_POINT)
    if not params or not point:
        return None
    if params in _ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(_unwrapped(point, 32))
    if params not in _EC:
        raise _refused("curve")
    curve, length = _EC[params]
    return ec.EllipticCurvePublicKey.from_encoded_point(curve(), _unwrapped(point, length))


def _unwrapped(point: bytes, length: int) -> bytes:
    # The specification wants an OCTET STRING around the point; some tokens leave it away, some write a BIT STRING.
    return point[-length:] if len(point) - length in (0, 2, 3, 4) else point


def _key_type(key: pkcs11.PrivateKey) -> KeyType:
    try:
        kind = key.key_type
    except ValueError:  # a vendor's own number
        raise _refused("key_type") from None
    if kind not in (KeyType.EC, KeyType.EC_EDWARDS, KeyType.RSA, *KEY_TYPES):
        raise _refused("key_type")
    return kind


def _attribute(found: pkcs11.Object, name: Attribute) -> Any:
    """Return an attribute, None where the object does not have or show it."""
    try:
        return found[name]
    except _ABSENT:
        return None
    except UnicodeDecodeError:  # a label that is no UTF-8 names nothing
        return None


def _refused(reason: str) -> Refusal:
    return Refusal("key.algorithm_refused", reason, "the key's algorithm is not one that signerd signs with")
