"""``signerd keys enrol-fido2``: an authenticator makes a credential, and what to configure of it is printed.

It asks the backend's key worker as the sealer would. No daemon is needed, and one that runs takes no notice: a key
counts once it stands in the configuration.
"""

import dataclasses
import json
import select
from typing import TYPE_CHECKING, Final

import msgspec

from signerd.errors import Fault, Refusal, error_from
from signerd.host.clock import SystemClock
from signerd.sealer.backends import Backend
from signerd.sealer.starters import backend_spec
from signerd.sealer.worker_call import Call, CallResult
from signerd.verification.fido2 import ALGORITHMS
from signerd.verification.keys import PublicKey
from signerd.wire.decoding import BROKEN
from signerd.wire.worker_calls import CallError, EnrolParams, EnrolResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from signerd.host.config_model import Backend as ConfiguredBackend
    from signerd.host.config_model import Config

__all__ = ["enrol", "snippet"]

SCHEME: Final = "fido2"
ENROL_S: Final = 300.0
"""Two touches of at most two minutes each, and the authenticator's own work."""
START_S: Final = 15.0
_result: Final = msgspec.msgpack.Decoder(EnrolResult)


def enrol(
    config: "Config", key: str, backend: str | None, algorithm: str, asking: "Callable[[], None]"
) -> tuple[str, EnrolResult]:
    """Have the worker of ``backend`` enrol ``key``, and wait for the touches; returns the backend's name too. Without
    ``backend``: the one that ``key`` is configured with, else the only one of the scheme. ``asking`` is called when
    there is somebody to be asked for a touch.

    Refuses ``key.not_found``, ``no_backend`` or ``ambiguous_backend``; ``key.backend_unavailable``, ``no_worker``;
    ``request.unsupported``, ``no_enrolment``; ``key.backend_fault``, ``answer_shape``; and with what the backend does.
    """
    configured = _choose(config, key, backend)
    spec = dataclasses.replace(backend_spec(config, configured, set()), deadline_s=ENROL_S)
    worker = Backend(spec, SystemClock(), lambda _: None)
    try:
        _run(worker, START_S, lambda: worker.up)
        if not worker.up:
            raise Fault("key.backend_unavailable", "no_worker", f"backend {configured.name}: its worker does not start")
        if "enrol" not in worker.methods:
            raise Refusal("request.unsupported", "no_enrolment", f"backend {configured.name} enrols nothing")
        asking()
        answers: list[CallResult] = []
        worker.call_many([Call("enrol", EnrolParams(key, algorithm), answers.append)])
        _run(worker, ENROL_S + START_S, lambda: bool(answers))
    finally:
        worker.close(START_S)
    return configured.name, _read(answers[0] if answers else spec.errors.late)


def snippet(config: "Config", backend: str, key: str, made: EnrolResult) -> str:
    """Return the lines of TOML that make the daemon use the key."""
    named = [each.tenant for each in config.keys if each.key == key]
    tenants = named or [tenant.name for tenant in config.tenants]
    lines = [f"[keys.{_text(key)}]", f"backend = {_text(backend)}"]
    lines.append(f"tenant = {_text(tenants[0])}" if len(tenants) == 1 else 'tenant = ""  # whose it is')
    if made.algorithm in ALGORITHMS.values():
        lines.append(f"rp_id = {_text(made.rp_id)}")
        if made.origin:
            lines.append(f"origin = {_text(made.origin)}")
        if made.user_verification:
            lines.append("user_verification = true")
    head = [f"# {made.algorithm} {made.keyid}"]
    if not named:
        head.append(f"# and {_text(key)} among the keys of its tenant")
    return "\n".join([*head, *lines]) + "\n"


def _text(value: str) -> str:
    # A basic string of TOML takes every escape that JSON writes, but for surrogates, and no check lets those through.
    return json.dumps(value)


def _choose(config: "Config", key: str, name: str | None) -> "ConfiguredBackend":
    name = name or next((each.backend for each in config.keys if each.key == key), None)
    found = [each for each in config.backends if each.name == name or (name is None and each.scheme == SCHEME)]
    if len(found) == 1:
        return found[0]
    if not found:
        wanted = f"named {name}" if name else f"of scheme {SCHEME}"
        raise Refusal("key.not_found", "no_backend", f"the configuration has no backend {wanted}")
    names = ", ".join(each.name for each in found)
    raise Refusal("key.not_found", "ambiguous_backend", f"name one of the backends {names} with --backend")


def _run(worker: Backend, seconds: float, over: "Callable[[], bool]") -> None:
    """Turn the worker's loop until ``over``, or ``seconds`` have passed."""
    clock = SystemClock()
    until = clock.monotonic() + seconds
    while not over() and (now := clock.monotonic()) < until:
        worker.tick(now)
        worker.flush()
        next_look = worker.next_look()
        poll = select.poll()
        for fd in worker.descriptors():
            poll.register(fd, select.POLLIN)
        ready = poll.poll(max(0.0, min(until, next_look or until) - clock.monotonic()) * 1000)
        if ready:
            worker.readable(lambda: None)
            worker.reap()


def _read(answer: CallResult) -> EnrolResult:
    if isinstance(answer, CallError):
        raise error_from(answer.code, answer.reason, answer.message, operator=answer.operator or None)
    try:
        made = _result.decode(answer)
        public = PublicKey.from_spki(made.spki)
    except (*BROKEN, Refusal) as exc:
        raise _misshapen() from exc
    fitting = {public.algorithm, ALGORITHMS.get(public.algorithm)}
    if public.keyid != made.keyid or made.algorithm not in fitting or not made.rp_id.isprintable():
        raise _misshapen()
    return made


def _misshapen() -> Fault:
    return Fault("key.backend_fault", "answer_shape", "the backend's answer is no enrolment")
