"""The OIDC issuer of the tests: its process, and the tokens it gives."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running.oidc_server import AMBIENT_BEARER, GITHUB
from running.server import Plan, Server, ask, serving

__all__ = ["AUDIENCE", "EMAIL", "SPIFFE_ID", "TRUST_DOMAIN", "OidcIssuer", "oidc_issuer"]

AUDIENCE = "sigstore"
EMAIL = "signer@example.com"
TRUST_DOMAIN = "example.org"
SPIFFE_ID = f"spiffe://{TRUST_DOMAIN}/workload"

# What each kind of issuer tells beside the times, as far as Fulcio demands it.
_CLAIMS: dict[str, dict[str, Any]] = {
    "email": {"sub": "1234", "email": EMAIL, "email_verified": True},
    "spiffe": {"sub": SPIFFE_ID},
    "github": GITHUB,
    "gitlab": {
        "sub": "project_path:example/project:ref_type:branch:ref:main",
        "project_path": "example/project",
        "project_id": "1",
        "project_visibility": "public",
        "namespace_path": "example",
        "namespace_id": "2",
        "pipeline_source": "push",
        "pipeline_id": "3",
        "job_id": "4",
        "ref": "main",
        "ref_type": "branch",
        "sha": "a" * 40,
        "ci_config_ref_uri": "gitlab.com/example/project//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "a" * 40,
        "runner_environment": "gitlab-hosted",
        "runner_id": 5,
    },
    # An issuer like the first that Fulcio has not been told of.
    "stranger": {"sub": "1234", "email": EMAIL, "email_verified": True},
}


@dataclass(frozen=True, slots=True)
class OidcIssuer:
    """The running issuer: one issuer URL for each kind, ``email``, ``spiffe``, ``github``, ``gitlab``, ``stranger``."""

    server: Server

    @property
    def base(self) -> str:
        """Where it serves, without a kind."""
        return f"http://127.0.0.1:{self.server.ports[0]}"

    def url(self, kind: str = "email") -> str:
        """The ``iss`` of that kind's tokens."""
        return f"{self.base}/{kind}"

    def token(
        self, kind: str = "email", *, algorithm: str = "RS256", lifetime_s: int = 300, age_s: int = 0, **claims: object
    ) -> str:
        """Ask it for a token, issued ``age_s`` ago, with that kind's claims; of ``claims`` a None leaves one out."""
        issued = int(time.time()) - age_s
        told = {"iss": self.url(kind), "aud": AUDIENCE, "iat": issued, "nbf": issued, "exp": issued + lifetime_s}
        wanted = {name: value for name, value in (told | _CLAIMS[kind] | claims).items() if value is not None}
        body = json.dumps({"claims": wanted, "algorithm": algorithm}).encode()
        status, answer = ask(f"{self.base}/token", body, seconds=20)
        assert status == 200, answer
        token: str = json.loads(answer)["id_token"]
        return token

    @property
    def ambient(self) -> dict[str, str]:
        """The environment in which a job of GitHub's asks for its token, pointed at this issuer's ``github``."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.base}/ambient?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": AMBIENT_BEARER,
        }

    def fulcio_configuration(self) -> dict[str, Any]:
        """Fulcio's ``--config-path`` document: every kind but ``stranger``."""
        kinds = {
            "email": {"Type": "email"},
            "spiffe": {"Type": "spiffe", "SPIFFETrustDomain": TRUST_DOMAIN},
            "github": {"Type": "github-workflow"},
            "gitlab": {"Type": "gitlab-pipeline"},
        }
        return {
            "OIDCIssuers": {
                self.url(kind): {"IssuerURL": self.url(kind), "ClientID": AUDIENCE, **settings}
                for kind, settings in kinds.items()
            }
        }


@contextlib.contextmanager
def oidc_issuer(folder: Path) -> Iterator[OidcIssuer]:
    """Start an issuer with keys of its own."""
    program = Path(__file__).with_name("oidc_server.py")

    def plan(ports: list[int]) -> Plan:
        return Plan([sys.executable, "-P", program, str(ports[0])], f"http://127.0.0.1:{ports[0]}/keys")

    with serving("oidc-issuer", folder, plan) as server:
        yield OidcIssuer(server)
