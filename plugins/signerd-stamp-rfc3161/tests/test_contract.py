from contextlib import contextmanager

import pytest

import signerd_stamp_rfc3161.plugin
from fakes.http_double import Reply
from fakes.publishers import AuthorityDouble
from signerd.verification.stamp import verify_stamp
from signerd_conformance.contracts import TransparencyLogContract
from signerd_stamp_rfc3161.settings import read_settings


class TestContract(TransparencyLogContract):
    plugin = signerd_stamp_rfc3161.plugin

    @pytest.fixture(autouse=True)
    def double(self, tmp_path):
        self.server = AuthorityDouble(tmp_path)
        yield
        self.server.server.close()

    def settings(self):
        return self.server.settings()

    def prove(self, entry, payload_digest, signature, verifier):
        verify_stamp(entry, signature, [read_settings(self.settings()).authority])

    @contextmanager
    def outage(self):
        self.server.say = lambda asked: Reply(500, b"<html>no</html>")
        yield
        self.server.say = lambda asked: None

    def lies(self):
        return [self.lying({"imprint": bytes(32)}), self.lying({"nonce": b""})]

    @contextmanager
    def lying(self, lie):
        self.server.lie = lie
        yield
        self.server.lie = {}
