"""The whole Sigstore stack on loopback: Fulcio, Rekor v2 and the timestamp server, with our issuer and our CT log."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from running.authority import code_signing_authority
from running.ct import CtLog, ct_log
from running.fulcio import Fulcio, fulcio_server
from running.oidc import OidcIssuer, oidc_issuer
from running.rekor import Rekor, rekor_server
from running.tsa import TimestampServer, timestamp_server

__all__ = ["NEEDS", "SigstoreStack", "sigstore_stack"]

NEEDS = ("fulcio", "rekor", "timestamp-server")
"""The outside parts that it is made of."""


@dataclass(frozen=True, slots=True)
class SigstoreStack:
    """The parts; what a trusted root is made of lies with each.

    Fulcio: ``fulcio.url``, ``fulcio.authority.chain``. CT: ``ct_log.url``, ``ct_log.public_key``. Rekor:
    ``rekor.url``, ``rekor.public_key``, ``rekor.origin``. Stamps: ``tsa.url``, ``tsa.authority.chain``.
    """

    issuer: OidcIssuer
    ct_log: CtLog
    fulcio: Fulcio
    rekor: Rekor
    tsa: TimestampServer


@contextlib.contextmanager
def sigstore_stack(folder: Path) -> Iterator[SigstoreStack]:
    """Start all of it in ``folder``."""
    authority = code_signing_authority(folder / "fulcio")
    with (
        oidc_issuer(folder / "oidc") as issuer,
        ct_log(folder / "ct", [authority.root]) as log,
        fulcio_server(folder / "fulcio", authority, issuer, log) as fulcio,
        rekor_server(folder / "rekor") as rekor,
        timestamp_server(folder / "tsa") as tsa,
    ):
        yield SigstoreStack(issuer, log, fulcio, rekor, tsa)
