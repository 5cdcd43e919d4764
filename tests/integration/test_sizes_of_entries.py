"""What a caller fetches of the log's entries fits the links behind it, however many signatures one request had: nobody
takes the sealer from the others by asking what came of his own record (T21)."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from running.daemon import Running, running
from running.entries import MANY, logged, many_keys, signed_by_all
from signerd.attestation.bundle import parse_bundle
from signerd_client import Signer


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("entries")
    with running(base, config=many_keys(base)) as started:
        yield started


@pytest.mark.parametrize("size", [185_000, 600_000])
def test_the_whole_bundles_of_many_signatures(size: int, daemon: Running) -> None:
    sealer = daemon.child("sealer")
    with Signer.connect(daemon.socket) as signer:
        audit_id = signed_by_all(signer, size).result.receipt.audit_id
        logged(daemon, audit_id)
        found = signer.transparency_entry(audit_id, deadline_s=60)
    assert (found.state, len(found.bundles)) == ("logged", MANY)
    for one in found.bundles:
        assert isinstance(one.bundle, bytes)
        assert sha256(one.bundle).hexdigest() == one.complete_sha256
        assert len(parse_bundle(one.bundle).log_entries) == 1
    assert daemon.child("sealer") == sealer, daemon.said
