import signerd_auth_peercred.plugin
from signerd.contracts.values import Caller, Peer
from signerd_conformance.contracts import AuthenticatorContract


class TestContract(AuthenticatorContract):
    plugin = signerd_auth_peercred.plugin

    def settings(self):
        return {"uids": [70001]}

    def known(self):
        return Caller(Peer(70001, 70001, 4242, 1), "signerd")

    def stranger(self):
        return Caller(Peer(70002, 70002, 4243, 1), "signerd")
