from collections.abc import Callable

import pytest

from fakes.contracts import failing, plugin
from signerd.contracts.values import Caller, Entitlement, Peer, PlanLimits, Principal, Release
from signerd.errors import Refusal
from signerd_conformance.contracts import AuthenticatorContract, EntitlementContract, ReleaseCheckContract

KNOWN = Principal("build", "acme", frozenset({"signer.sign"}), "made-up")
GENUINE = "sha256:" + "ab" * 32


def strict(provider: object) -> Callable[[dict[str, object]], object]:
    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return provider

    return introduce


class Authentication(AuthenticatorContract):
    def known(self) -> Caller:
        return Caller(Peer(1, 1, 2, 3), "signerd")

    def stranger(self) -> Caller:
        return Caller(Peer(2, 2, 2, 3), "signerd")


class Authenticates:
    def __init__(self, principal: object, stranger: object = None, token: object = None) -> None:
        self.principal, self.stranger, self.token = principal, stranger, token

    def authenticate(self, caller: Caller) -> object:
        said = self.token if caller.token else self.principal if caller.peer.uid == 1 else self.stranger
        if isinstance(said, Exception):
            raise said
        return said


class Counts(Authenticates):
    def authenticate(self, caller: Caller) -> object:
        self.principal = Principal(f"{getattr(self.principal, 'name', '')}x", "acme", frozenset(), "made-up")
        return super().authenticate(caller)


PRINCIPAL, SAME, STRANGER, TOKEN, BETWEEN = (
    "a_known_caller_is_a_principal",
    "the_same_caller_is_the_same_principal",
    "a_stranger_is_refused_or_left_to_others",
    "garbage_for_a_token_is_refused_or_left_to_others",
    "a_stranger_in_between_changes_nothing",
)
REFUSED = Refusal("auth.peer_denied", "x", "no")


@pytest.mark.parametrize(
    ("made", "failed"),
    [
        (Authenticates(KNOWN), set()),
        (Authenticates(KNOWN, REFUSED, REFUSED), set()),
        (Authenticates(None), {PRINCIPAL}),
        (Authenticates(True), {PRINCIPAL}),
        (Authenticates(Principal("", "acme", frozenset(), "x")), {PRINCIPAL}),
        (Authenticates(Principal("a\nb", "acme", frozenset(), "x")), {PRINCIPAL}),
        (Authenticates(KNOWN, KNOWN), {STRANGER, BETWEEN, TOKEN}),
        (Authenticates(KNOWN, None, KNOWN), {TOKEN}),
        (Authenticates(KNOWN, False), {STRANGER, BETWEEN, TOKEN}),
        (Authenticates(KNOWN, Refusal("release.untrusted", "x", "no")), {STRANGER, BETWEEN, TOKEN}),
        (Authenticates(KNOWN, KeyError("x")), {STRANGER, BETWEEN, TOKEN}),
        (Counts(KNOWN), {SAME, BETWEEN}),
        (object(), {PRINCIPAL, SAME, STRANGER, TOKEN, BETWEEN}),
        (Authenticates, {PRINCIPAL, SAME, STRANGER, TOKEN, BETWEEN}),
    ],
)
def test_authenticators(made: object, failed: set[str]) -> None:
    assert failing(Authentication, plugin("signerd_authenticators", strict([made]))) == failed


class Entitlements(EntitlementContract):
    def entitled(self) -> Principal:
        return KNOWN

    def unknown(self) -> Principal:
        return Principal("build", "nobody", frozenset(), "made-up")


class Entitles:
    def __init__(self, *said: object, unknown: object = Refusal("entitlement.denied", "x", "no")) -> None:
        self.said, self.unknown, self.asked = said, unknown, 0

    def entitle(self, principal: Principal, proof: object) -> object:
        said = self.unknown
        if principal.tenant == "acme":
            said, self.asked = self.said[self.asked % len(self.said)], self.asked + 1
        if isinstance(said, Exception):
            raise said
        return said


LIMITS = PlanLimits(1, 1024)
PLAN = Entitlement("default", LIMITS, "made-up", ("2025.01", "2026.11"))
HAS, AGAIN, NONE = (
    "who_is_entitled_has_a_plan_with_limits",
    "the_same_question_has_the_same_answer",
    "a_tenant_without_a_plan_is_refused",
)


@pytest.mark.parametrize(
    ("made", "failed"),
    [
        (Entitles(PLAN), set()),
        (Entitles(None), {HAS}),
        (Entitles(Entitlement("", LIMITS, "made-up")), {HAS}),
        (Entitles(Entitlement("default", PlanLimits(0, 1024), "made-up")), {HAS}),
        (Entitles(Entitlement("default", LIMITS, "made-up", ("2026.11", "2025.01"))), {HAS}),
        (Entitles(Entitlement("default", LIMITS, "made-up", ("2026.1", "2026.2"))), {HAS}),
        (Entitles(PLAN, Entitlement("other", LIMITS, "made-up")), {AGAIN}),
        (Entitles(PLAN, unknown=PLAN), {NONE}),
        (Entitles(PLAN, unknown=None), {NONE}),
        (Entitles(PLAN, unknown=ValueError("x")), {NONE}),
    ],
)
def test_entitlement_sources(made: object, failed: set[str]) -> None:
    assert failing(Entitlements, plugin("signerd_entitlements", strict(made))) == failed


class Releases(ReleaseCheckContract):
    def genuine(self) -> str:
        return GENUINE


class Checks:
    def __init__(self, said: object, *, everything: bool = False, code: str = "release.untrusted") -> None:
        self.said, self.everything, self.code = said, everything, code

    def check(self, digest: str, principal: object) -> object:
        if digest != GENUINE and not self.everything:
            raise Refusal(self.code, "x", "no")
        return self.said


EVIDENCE, UNKNOWN, NOT_ONE = (
    "a_genuine_release_is_evidence",
    "an_unknown_digest_is_refused",
    "what_is_no_digest_is_refused",
)


@pytest.mark.parametrize(
    ("made", "failed"),
    [
        (Checks(Release(GENUINE, "signature", "2026.11")), set()),
        (Checks(True), {EVIDENCE}),
        (Checks(Release("sha256:" + "00" * 32, "signature")), {EVIDENCE}),
        (Checks(Release(GENUINE, "hearsay")), {EVIDENCE}),
        (Checks(Release(GENUINE, "approval", "26.11")), {EVIDENCE}),
        (Checks(Release(GENUINE, "approval"), everything=True), {UNKNOWN, NOT_ONE}),
        (Checks(Release(GENUINE, "approval"), code="auth.required"), {UNKNOWN, NOT_ONE}),
    ],
)
def test_release_checks(made: object, failed: set[str]) -> None:
    assert failing(Releases, plugin("signerd_release_checks", strict([made]))) == failed
