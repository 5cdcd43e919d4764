from contextlib import contextmanager

import pytest

import signerd_log_rekor.plugin
from fakes.http_double import Reply
from fakes.publishers import LogDouble
from signerd.attestation.log_entry import parse_log_entry
from signerd.verification.log_entry import verify_log_entry
from signerd_conformance.contracts import TransparencyLogContract
from signerd_log_rekor.log import submission
from signerd_log_rekor.settings import read_settings


class TestContract(TransparencyLogContract):
    plugin = signerd_log_rekor.plugin

    @pytest.fixture(autouse=True)
    def double(self, tmp_path):
        self.server = LogDouble(tmp_path, others=3)
        yield
        self.server.server.close()

    def settings(self):
        return self.server.settings(deadline_s=2.0)

    def prove(self, entry, payload_digest, signature, verifier):
        signed, _ = submission(payload_digest, signature, verifier)
        verify_log_entry(parse_log_entry(entry), signed, read_settings(self.settings()).shards)

    @contextmanager
    def outage(self):
        self.server.say = lambda asked: Reply(500, b"<html>no</html>")
        yield
        self.server.say = lambda asked: None

    def lies(self):
        def root(entry):
            entry["inclusionProof"]["rootHash"] = "A" * 43 + "="

        def body(entry):
            entry["canonicalizedBody"] = "e30="

        return [self.lying(root), self.lying(body)]

    @contextmanager
    def lying(self, lie):
        self.server.lie = lie
        yield
        self.server.lie = lambda entry: None
