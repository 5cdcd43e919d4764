"""Contracts of what decides: authenticators, entitlement sources, release checks."""

import re
from typing import Final

import msgspec

from signerd.contracts.providers import Authenticator, EntitlementSource, ReleaseCheck
from signerd.contracts.values import Caller, Entitlement, PlanLimits, Principal, ProofOfEntitlement, Release
from signerd.errors import SignerdError
from signerd_conformance.contracts.plugin import PluginContract, refused, settled

__all__ = ["AuthenticatorContract", "EntitlementContract", "ReleaseCheckContract"]

_VERSION: Final = re.compile(r"[0-9]{4}\.(0[1-9]|1[0-2])")
_WAYS: Final = ("signature", "allowlist", "approval")
_GARBAGE: Final = ("", "x", "a.b.c", "e30.e30.", "\0", "é" * 4000)
"""What somebody may send for a token."""
_NO_DIGESTS: Final = (
    "",
    "sha256:",
    "sha256:" + "g" * 64,
    "SHA256:" + "0" * 64,
    "sha256:" + "0" * 63,
    "md5:" + "0" * 32,
)


class AuthenticatorContract(PluginContract):
    """A subclass gives :meth:`known` and :meth:`stranger`."""

    hook = "signerd_authenticators"

    def known(self) -> Caller:
        """Return a caller that is somebody."""
        raise NotImplementedError

    def stranger(self) -> Caller:
        """Return a caller that is nobody."""
        raise NotImplementedError

    def authenticator(self) -> Authenticator:
        """Return the first that the plugin brings."""
        (first, *_) = self.providers()
        assert isinstance(first, Authenticator), f"{type(first).__name__} is no Authenticator"
        assert not isinstance(first, type), "a class where an instance must be"
        return first

    def test_a_known_caller_is_a_principal(self) -> None:
        """Name, tenant and way are texts that a record can hold."""
        principal = settled(self.authenticator().authenticate(self.known()))
        assert isinstance(principal, Principal), f"{principal!r} is no Principal"
        for text in (principal.name, principal.tenant, principal.how):
            assert isinstance(text, str), f"{text!r} is no text"
            assert text, "an empty text"
            assert text.isprintable(), f"{text!r} could forge a log line"
        assert isinstance(principal.scopes, frozenset), "scopes that can still change"
        assert all(isinstance(scope, str) for scope in principal.scopes)

    def test_the_same_caller_is_the_same_principal(self) -> None:
        """An authenticator keeps nothing of a caller that would change what the next call says."""
        made = self.authenticator()
        first = settled(made.authenticate(self.known()))
        assert _without_end(first) == _without_end(settled(made.authenticate(self.known())))

    def test_a_stranger_is_refused_or_left_to_others(self) -> None:
        """None, or ``auth.*``."""
        self._says_no(self.stranger())

    def test_garbage_for_a_token_is_refused_or_left_to_others(self) -> None:
        """A stranger does not become somebody by showing something."""
        for text in _GARBAGE:
            self._says_no(msgspec.structs.replace(self.stranger(), token=text, proof=text))

    def test_a_stranger_in_between_changes_nothing(self) -> None:
        """Who was refused leaves no trace in who is let in."""
        made = self.authenticator()
        first = settled(made.authenticate(self.known()))
        self._says_no(self.stranger(), made)
        assert _without_end(first) == _without_end(settled(made.authenticate(self.known())))

    def _says_no(self, caller: Caller, made: Authenticator | None = None) -> None:
        made = made or self.authenticator()
        try:
            said = settled(made.authenticate(caller))
        except SignerdError as exc:
            code = exc.code
        else:
            assert said is None, f"{said!r} where None or a refusal must be"
            return
        assert code.startswith("auth."), f"{code} and not auth.*"


def _without_end(principal: object) -> object:
    return msgspec.structs.replace(principal, expires_at=None) if isinstance(principal, Principal) else principal


class EntitlementContract(PluginContract):
    """A subclass gives :meth:`entitled` and :meth:`unknown`."""

    hook = "signerd_entitlements"

    def entitled(self) -> Principal:
        """Return somebody whose tenant has a plan."""
        raise NotImplementedError

    def unknown(self) -> Principal:
        """Return somebody whose tenant has none."""
        raise NotImplementedError

    def proof(self) -> ProofOfEntitlement:
        """Return what :meth:`entitled` shows; nothing unless this says otherwise."""
        return ProofOfEntitlement()

    def source(self) -> EntitlementSource:
        """Return the source that the plugin brings."""
        (one,) = self.providers()
        assert isinstance(one, EntitlementSource), f"{type(one).__name__} is no EntitlementSource"
        assert not isinstance(one, type), "a class where an instance must be"
        return one

    def test_who_is_entitled_has_a_plan_with_limits(self) -> None:
        """Limits are numbers above zero or None, a window is two versions in order."""
        found = settled(self.source().entitle(self.entitled(), self.proof()))
        assert isinstance(found, Entitlement), f"{found!r} is no Entitlement"
        assert found.plan, "a plan without a name"
        assert found.source, "a source without a name"
        assert isinstance(found.limits, PlanLimits), f"{found.limits!r} are no PlanLimits"
        limits = found.limits
        for number in (limits.concurrency, limits.size, limits.burst, limits.rate, limits.daily):
            assert number is None or number > 0, f"a limit of {number}"
        if found.window is not None:
            first, last = found.window
            assert _VERSION.fullmatch(first), f"{first!r} is no version"
            assert _VERSION.fullmatch(last), f"{last!r} is no version"
            assert first <= last, f"a window from {first} to {last}"
        assert all(isinstance(word, str) for word in found.degraded)

    def test_the_same_question_has_the_same_answer(self) -> None:
        """Asking uses nothing up: that is the quota's."""
        source = self.source()
        first = settled(source.entitle(self.entitled(), self.proof()))
        assert first == settled(source.entitle(self.entitled(), self.proof()))

    def test_a_tenant_without_a_plan_is_refused(self) -> None:
        """``entitlement.*``, whatever it shows."""
        refused("entitlement.", self.source().entitle, self.unknown(), ProofOfEntitlement())
        for text in _GARBAGE:
            refused("entitlement.", self.source().entitle, self.unknown(), ProofOfEntitlement("jwt", text))


class ReleaseCheckContract(PluginContract):
    """A subclass gives :meth:`genuine` and :meth:`unknown`."""

    hook = "signerd_release_checks"

    def genuine(self) -> str:
        """Return the digest of a release, ``sha256:…``."""
        raise NotImplementedError

    def unknown(self) -> str:
        """Return the digest of none."""
        return "sha256:" + "5a" * 32

    def principal(self) -> Principal:
        """Return who asks."""
        return Principal("conformance", "local", frozenset(), "contract")

    def release_check(self) -> ReleaseCheck:
        """Return the first that the plugin brings."""
        (first, *_) = self.providers()
        assert isinstance(first, ReleaseCheck), f"{type(first).__name__} is no ReleaseCheck"
        assert not isinstance(first, type), "a class where an instance must be"
        return first

    def test_a_genuine_release_is_evidence(self) -> None:
        """Of that very digest, with a way and a version that are words of the contract."""
        found = settled(self.release_check().check(self.genuine(), self.principal()))
        assert isinstance(found, Release), f"{found!r} is no Release"
        assert found.digest == self.genuine(), f"evidence for {found.digest}"
        assert found.how in _WAYS, f"{found.how!r} is none of {', '.join(_WAYS)}"
        assert found.version is None or _VERSION.fullmatch(found.version), f"{found.version!r} is no version"

    def test_an_unknown_digest_is_refused(self) -> None:
        """``release.*``."""
        refused("release.", self.release_check().check, self.unknown(), self.principal())

    def test_what_is_no_digest_is_refused(self) -> None:
        """``release.*``, and nothing else, whatever the caller wrote."""
        made = self.release_check()
        for text in (*_NO_DIGESTS, self.genuine().upper(), self.genuine() + "\n", "é\0" * 1000):
            refused("release.", made.check, text, self.principal())
