"""The calls of the worker protocol, each against one key backend, as bytes in and bytes out.

Every failure is a typed error: what the backend refuses with passes through if it is a ``key.*`` code,
anything else that comes out of it is ``key.backend_fault``. What the caller got wrong is ``request.*``.
"""

from collections.abc import Callable
from typing import Final, TypeVar, cast

import msgspec
from msgspec import Raw

from signerd.contracts.providers import Enroller, Generator, KeyBackend, Keyless, Rotator
from signerd.contracts.values import Enrolment, KeyDescription, Rotated, SignatureResult, SignFor
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.guard import Guard
from signerd.host.memfd import read_sealed
from signerd.wire.decoding import decode_strict, malformed
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import (
    BatchParams,
    BatchResult,
    CallError,
    CallOutcome,
    DescribeParams,
    DescribeResult,
    EnrolParams,
    EnrolResult,
    GenerateParams,
    RotateParams,
    RotateResult,
    SignParams,
    SignResultParams,
)
from signerd.worker.macs import MacCalls

__all__ = ["ANSWER_BYTES", "MESSAGE_BYTES", "Calls"]

MESSAGE_BYTES: Final = 192 * 1024 * 1024
"""The longest message to sign: the largest payload (128 MiB) framed as PAE, with room."""
ANSWER_BYTES: Final = 256 * 1024
"""The longest result of one call: a certificate chain with the longest signature of any algorithm is far
shorter."""

T = TypeVar("T", bound=msgspec.Struct)
Call = Callable[[Raw, "_Descriptors"], msgspec.Struct]


class _Descriptors:
    """The descriptors of one frame; each must be named exactly once."""

    __slots__ = ("_fds", "_named")

    def __init__(self, fds: tuple[int, ...]) -> None:
        self._fds = fds
        self._named: set[int] = set()

    def read(self, where: Descriptor) -> bytes:
        """Return what the named descriptor holds; refuses an index out of range or named twice, and unsealed
        ones."""
        if not 0 <= where.fd < len(self._fds) or where.fd in self._named:
            raise Refusal(
                "request.malformed", "descriptor_index", "a descriptor is named that is not there, or twice"
            )
        self._named.add(where.fd)
        return read_sealed(self._fds[where.fd], where.size, MESSAGE_BYTES)

    @property
    def surplus(self) -> bool:
        """Whether one came that nobody named."""
        return len(self._named) < len(self._fds)


class Calls:
    """Answers ``describe``, ``sign``, ``batch`` and what ``backend`` declares; ``name`` is for the
    operator."""

    def __init__(self, backend: KeyBackend, name: str) -> None:
        self._backend = backend
        self._guard = Guard("key_backend", name)
        self._encode = msgspec.msgpack.Encoder().encode
        self._describe_params = msgspec.msgpack.Decoder(DescribeParams)
        self._sign_params = msgspec.msgpack.Decoder(SignParams)
        self._generate_params = msgspec.msgpack.Decoder(GenerateParams)
        self._rotate_params = msgspec.msgpack.Decoder(RotateParams)
        self._enrol_params = msgspec.msgpack.Decoder(EnrolParams)
        self._batch_params = msgspec.msgpack.Decoder(BatchParams)
        self._methods: dict[str, Call] = {"describe": self._describe, "sign": self._sign}
        if "generate" in backend.capabilities:
            self._methods["generate"] = self._generate
        if "rotate" in backend.capabilities:
            self._methods["rotate"] = self._rotate
        if "enrol" in backend.capabilities:
            self._methods["enrol"] = self._enrol
        self.macs = MacCalls(backend, self._ask, self._fault)
        """The calls that are answered when they are done, never in a batch."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What the hello of this worker names."""
        return (*self._methods, *self.macs.methods, "batch")

    def answer(self, method: str, params: Raw, fds: tuple[int, ...]) -> Raw:
        """Return the encoded result of one request; ``fds`` came with its frame and stay the caller's.

        Raises SignerdError and nothing else.
        """
        descriptors = _Descriptors(fds)
        if method == "batch":
            return self._batch(params, descriptors)
        result = self._one(method, params, descriptors)
        if descriptors.surplus:
            raise malformed("descriptor_surplus")
        return result

    def _batch(self, params: Raw, descriptors: _Descriptors) -> Raw:
        items = decode_strict(self._batch_params, params, unique_keys=False).items
        outcomes = []
        for item in items:
            try:
                outcomes.append(CallOutcome(ok=self._one(item.method, item.params, descriptors)))
            except SignerdError as exc:
                outcomes.append(CallOutcome(error=CallError(exc.code, exc.reason, exc.public, exc.args[0])))
        if descriptors.surplus:
            raise malformed("descriptor_surplus")
        return Raw(self._encode(BatchResult(tuple(outcomes))))

    def _one(self, method: str, params: Raw, descriptors: _Descriptors) -> Raw:
        call = self._methods.get(method)
        if call is None:
            raise Refusal(
                "request.unsupported",
                "method",
                "the worker does not serve this method",
                details={"name": method[:64]},
            )
        encoded = self._encode(call(params, descriptors))
        if len(encoded) > ANSWER_BYTES:
            raise self._fault("answer_size", f"an answer of {len(encoded)} bytes")
        return Raw(encoded)

    def _describe(self, params: Raw, descriptors: _Descriptors) -> DescribeResult:
        del descriptors
        wanted = decode_strict(self._describe_params, params)
        return self._description(self._ask(self._backend.describe, KeyDescription, wanted.key))

    def _generate(self, params: Raw, descriptors: _Descriptors) -> DescribeResult:
        del descriptors
        wanted = decode_strict(self._generate_params, params)
        # It was declared, so it is there: a backend that lied about it ends in the guard.
        backend = cast("Generator", self._backend)
        return self._description(
            self._ask(lambda: backend.generate(wanted.key, wanted.algorithm), KeyDescription)
        )

    def _rotate(self, params: Raw, descriptors: _Descriptors) -> RotateResult:
        del descriptors
        wanted = decode_strict(self._rotate_params, params)
        backend = cast("Rotator", self._backend)
        made = self._ask(lambda: backend.rotate(wanted.key, wanted.algorithm), Rotated)
        self._check_types(str, made.key)
        self._check_types(KeyDescription, made.description)
        found = self._description(made.description)
        return RotateResult(**{name: getattr(found, name) for name in found.__struct_fields__}, key=made.key)

    def _enrol(self, params: Raw, descriptors: _Descriptors) -> EnrolResult:
        del descriptors
        wanted = decode_strict(self._enrol_params, params)
        backend = cast("Enroller", self._backend)
        made = self._ask(lambda: backend.enrol(wanted.key, wanted.algorithm), Enrolment)
        self._check_types(KeyDescription, made.description)
        self._check_types(str, made.rp_id, made.origin, made.aaguid, made.attestation)
        self._check_types(bool, made.user_verification)
        self._check_types(int, made.counter)
        found = self._description(made.description)
        rest = {name: getattr(made, name) for name in made.__struct_fields__ if name != "description"}
        return EnrolResult(**{name: getattr(found, name) for name in found.__struct_fields__}, **rest)

    def _sign(self, params: Raw, descriptors: _Descriptors) -> SignResultParams:
        wanted = decode_strict(self._sign_params, params, unique_keys=False)
        message = wanted.message
        if not isinstance(message, bytes):
            message = descriptors.read(message)
        if "keyless" in self._backend.capabilities:
            backend = cast("Keyless", self._backend)
            given = wanted.context
            signer = SignFor() if given is None else SignFor(given.tenant, given.audit_id, given.identity_token)
            signed = self._ask(lambda: backend.sign_for(wanted.key, message, signer), SignatureResult)
        else:
            signed = self._ask(self._backend.sign, SignatureResult, wanted.key, message)
        self._check_types(bytes, signed.signature, *signed.chain)
        self._check_types(str, signed.keyid)
        if not signed.chain:
            return SignResultParams(signed.signature, signed.keyid)
        return SignResultParams(signed.signature, signed.keyid, signed.chain)

    def _description(self, found: KeyDescription) -> DescribeResult:
        self._check_types(bytes, found.spki, *found.chain)
        self._check_types(str, found.algorithm, found.keyid, found.prehash or "", *self._backend.capabilities)
        self._check_types(bool, found.hardware)
        return DescribeResult(
            found.algorithm,
            found.keyid,
            found.spki,
            self._backend.capabilities,
            found.chain,
            found.prehash or "",
            # No other backend's word on hardware counts.
            found.hardware and "attest" in self._backend.capabilities,
        )

    def _check_types(self, expected: type, *values: object) -> None:
        # A Struct does not look at what it is made of, and the encoder would write whatever it holds.
        for value in values:
            if not isinstance(value, expected):
                raise self._fault(
                    "plugin_type", f"a {type(value).__name__} stands where {expected.__name__} must"
                )

    def _ask(self, method: Callable[..., object], expected: type[T], *args: object) -> T:
        try:
            return self._guard.now(method, expected, *args)
        except SignerdError as exc:
            if exc.code.startswith("key."):
                raise
            raise self._fault("plugin_code", f"raised {exc.code}, which is no code of a key backend") from exc

    def _fault(self, reason: str, operator: str) -> Fault:
        return Fault(
            "key.backend_fault",
            reason,
            "a component of the signer failed",
            operator=f"{self._guard.name}: {operator}",
        )
