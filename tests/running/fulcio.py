"""The real Fulcio, with a CA of its own in files."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outside.parts import the
from running.authority import Authority
from running.ct import CtLog
from running.oidc import OidcIssuer
from running.server import Plan, Server, serving

__all__ = ["Fulcio", "fulcio_server"]


@dataclass(frozen=True, slots=True)
class Fulcio:
    """The running CA; ``authority`` holds its chain and, for tests that issue what it would not, its key."""

    server: Server
    authority: Authority

    @property
    def url(self) -> str:
        """The base of its API: POST /api/v2/signingCert."""
        return f"http://127.0.0.1:{self.server.ports[0]}"


@contextlib.contextmanager
def fulcio_server(
    folder: Path, authority: Authority, issuer: OidcIssuer, ct_log: CtLog | None
) -> Iterator[Fulcio]:
    """Start Fulcio for the issuer's tokens; without a CT log its certificates carry no SCT.

    The issuer and the log must run: Fulcio reads the discovery documents when it starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "fulcio.json"
    configuration.write_text(json.dumps(issuer.fulcio_configuration()))
    log: list[str | Path] = ["--ct-log-url", ct_log.url if ct_log else ""]
    if ct_log:
        log += ["--ct-log-public-key-path", ct_log.public_key]

    def plan(ports: list[int]) -> Plan:
        port, grpc, metrics = map(str, ports)
        command: list[str | Path] = [the("fulcio"), "serve", "--host", "127.0.0.1", "--port", port]
        command += ["--grpc-host", "127.0.0.1", "--grpc-port", grpc, "--metrics-port", metrics]
        # Its default abstract socket is one for the whole machine: a second Fulcio would not start.
        command += ["--legacy-unix-domain-socket", f"@signerd-tests-fulcio-{port}"]
        command += ["--ca", "fileca", "--fileca-cert", authority.chain, "--fileca-key", authority.key]
        command += ["--fileca-key-passwd", authority.password, "--fileca-watch=false", "--config-path", configuration]
        return Plan([*command, *log], f"http://127.0.0.1:{port}/healthz")

    with serving("fulcio", folder, plan, ports=3) as server:
        yield Fulcio(server, authority)
