"""An OIDC issuer in a process of its own: `python -P oidc_server.py PORT`. It gives anyone any token: a test asks.

Each kind of issuer is a path of its own with its own discovery document (OpenID Connect Discovery 1.0, 4) and shares
the keys: ``/<kind>/.well-known/openid-configuration``, ``/<kind>/keys`` (RFC 7517). ``POST /token`` with
``{"claims": …, "algorithm": "RS256" | "ES256"}`` answers a JWT (RFC 7519) over just these claims. ``GET
/ambient?audience=A`` with a bearer is GitHub's request for a token of the running job: ``{"value": JWT}``.
"""

import base64
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["AMBIENT_BEARER", "GITHUB", "Handler", "Keys", "main"]

AMBIENT_BEARER = "bearer of the running job"
# What GitHub tells of a job, as far as Fulcio demands it.
GITHUB = {
    "sub": "repo:example/project:ref:refs/heads/main",
    "job_workflow_ref": "example/project/.github/workflows/release.yml@refs/heads/main",
    "job_workflow_sha": "a" * 40,
    "workflow_ref": "example/project/.github/workflows/release.yml@refs/heads/main",
    "workflow_sha": "a" * 40,
    "workflow": "release",
    "sha": "a" * 40,
    "ref": "refs/heads/main",
    "event_name": "push",
    "repository": "example/project",
    "repository_id": "1",
    "repository_owner": "example",
    "repository_owner_id": "2",
    "repository_visibility": "public",
    "runner_environment": "github-hosted",
    "run_id": "3",
    "run_attempt": "1",
}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8))


class Keys:
    """One key for each algorithm, made at the start."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())

    def document(self) -> dict[str, Any]:
        """The JWK set."""
        first, second = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        n, e = _number(first.n), _number(first.e)
        x, y = (_base64url(each.to_bytes(32)) for each in (second.x, second.y))
        return {
            "keys": [
                {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256", "n": n, "e": e},
                {"kty": "EC", "use": "sig", "alg": "ES256", "kid": "ES256", "crv": "P-256", "x": x, "y": y},
            ]
        }

    def token(self, claims: dict[str, Any], algorithm: str) -> str:
        """Sign the claims; KeyError for an algorithm that there is no key for."""
        header = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims)).encode()
        return f"{signed.decode()}.{_base64url({'RS256': self._rs256, 'ES256': self._es256}[algorithm](signed))}"

    def _rs256(self, signed: bytes) -> bytes:
        return self.rsa.sign(signed, padding.PKCS1v15(), SHA256())

    def _es256(self, signed: bytes) -> bytes:
        # RFC 7518, 3.4: the two numbers side by side, not DER.
        r, s = decode_dss_signature(self.ec.sign(signed, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms on a connection that is kept
    keys: Keys
    base: str

    def do_GET(self) -> None:
        """Discovery, keys, and the ambient token."""
        target = urlsplit(self.path)
        kind, _, rest = target.path.strip("/").partition("/")
        if target.path == "/keys" or rest == "keys":
            self._answer(200, self.keys.document())
        elif rest == ".well-known/openid-configuration":
            issuer = f"{self.base}/{kind}"
            self._answer(
                200,
                {
                    "issuer": issuer,
                    "jwks_uri": f"{issuer}/keys",
                    "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token",
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                },
            )
        elif target.path == "/ambient":
            self._ambient(parse_qs(target.query).get("audience", ["the default of the issuer"])[0])
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        """Give the token that is asked for."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != "/token":
            return self._answer(404, {"error": "not found"})
        try:
            wanted = json.loads(body)
            token = self.keys.token(wanted["claims"], wanted["algorithm"])
        except (ValueError, KeyError, TypeError) as error:
            return self._answer(400, {"error": repr(error)})
        return self._answer(200, {"id_token": token})

    def _ambient(self, audience: str) -> None:
        if self.headers.get("Authorization", "").lower() != f"bearer {AMBIENT_BEARER}":
            return self._answer(401, {"error": "no bearer of a job"})
        now = int(time.time())
        claims = GITHUB | {"iss": f"{self.base}/github", "aud": audience, "iat": now, "nbf": now, "exp": now + 300}
        return self._answer(200, {"count": 1, "value": self.keys.token(claims, "RS256")})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int) -> None:
    """Serve until a signal ends it."""
    Handler.keys = Keys()
    Handler.base = f"http://127.0.0.1:{port}"
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
