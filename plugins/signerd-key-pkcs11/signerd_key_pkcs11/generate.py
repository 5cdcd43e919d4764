"""Key pairs made inside a token: for signatures only, and never to leave it."""

import secrets
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

from signerd_key_pkcs11.algorithms import CURVES, RSA, require, scheme_of
from signerd_key_pkcs11.failures import forbidden
from signerd_key_pkcs11.objects import taken
from signerd_key_pkcs11.uri import KeyUri

__all__ = ["make_key"]

RSA_BITS: Final = 3072
"""NIST SP 800-57 part 1, 128 bits of strength."""
ID_BYTES: Final = 16
_PRIVATE: Final[dict[Attribute, Any]] = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.SIGN: True,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}


def make_key(token: pkcs11.Token, uri: KeyUri, algorithm: str) -> None:
    """Make a key pair of the label and id in ``uri``; without an id, at random.

    ``key.forbidden`` with reason ``exists`` where any object has that label or id, ``key.algorithm_refused``
    with reason ``unknown_algorithm`` or ``mechanism_missing``. Raises PKCS11Error. To be called once the token is
    logged in to.
    """
    scheme = scheme_of(algorithm)
    require(scheme, token)
    session = token.open(rw=True)
    try:
        if taken(session, uri):
            raise forbidden("exists", "there is a key of this name already")
        named: dict[str, Any] = {
            "id": uri.id or secrets.token_bytes(ID_BYTES),
            "label": uri.object,
            "store": True,
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "private_template": _PRIVATE,
        }
        if algorithm == RSA:
            session.generate_keypair(KeyType.RSA, RSA_BITS, mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN, **named)
            return
        edwards = scheme.key_type is KeyType.EC_EDWARDS
        parameters = session.create_domain_parameters(
            scheme.key_type, {Attribute.EC_PARAMS: CURVES[algorithm]}, local=True
        )
        parameters.generate_keypair(
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN, **named
        )
    finally:
        session.close()
