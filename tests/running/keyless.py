"""Fixtures: the parts of keyless signing, each started once in a run, when a test first asks for it.

They are shared: a test that ends, hangs or restarts one starts its own by the context managers beside this file. Mark
tests with ``@pytest.mark.needs`` and the names of the outside parts (:data:`running.stack.NEEDS`).
"""

from collections.abc import Iterator

import pytest

from running.authority import Authority, code_signing_authority
from running.ct import CtLog
from running.ct import ct_log as running_ct_log
from running.fulcio import Fulcio, fulcio_server
from running.oidc import OidcIssuer
from running.oidc import oidc_issuer as running_oidc_issuer
from running.rekor import Rekor, rekor_server
from running.stack import SigstoreStack
from running.tsa import TimestampServer, timestamp_server

__all__ = ["code_signing", "ct_log", "fulcio", "oidc_issuer", "rekor", "sigstore_stack", "tsa"]


@pytest.fixture(scope="session")
def code_signing(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that Fulcio issues under."""
    return code_signing_authority(tmp_path_factory.mktemp("code-signing"))


@pytest.fixture(scope="session")
def oidc_issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcIssuer]:
    """The OIDC issuer."""
    with running_oidc_issuer(tmp_path_factory.mktemp("oidc")) as started:
        yield started


@pytest.fixture(scope="session")
def ct_log(code_signing: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CtLog]:
    """The CT log that Fulcio's certificates go to."""
    with running_ct_log(tmp_path_factory.mktemp("ct"), [code_signing.root]) as started:
        yield started


@pytest.fixture(scope="session")
def fulcio(
    code_signing: Authority,
    oidc_issuer: OidcIssuer,
    ct_log: CtLog,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fulcio]:
    """Fulcio, for the issuer's tokens and with the CT log's SCTs."""
    with fulcio_server(tmp_path_factory.mktemp("fulcio"), code_signing, oidc_issuer, ct_log) as started:
        yield started


@pytest.fixture(scope="session")
def rekor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rekor]:
    """A Rekor v2 log."""
    with rekor_server(tmp_path_factory.mktemp("rekor")) as started:
        yield started


@pytest.fixture(scope="session")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampServer]:
    """A timestamp server."""
    with timestamp_server(tmp_path_factory.mktemp("tsa")) as started:
        yield started


@pytest.fixture(scope="session")
def sigstore_stack(
    oidc_issuer: OidcIssuer, ct_log: CtLog, fulcio: Fulcio, rekor: Rekor, tsa: TimestampServer
) -> SigstoreStack:
    """All of them."""
    return SigstoreStack(oidc_issuer, ct_log, fulcio, rekor, tsa)
