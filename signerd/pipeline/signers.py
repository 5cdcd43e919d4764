"""Which keys sign one request, and which of their signatures leave as bundles."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from msgspec import UNSET
from msgspec.structs import replace

from signerd.attestation.algorithms import COMPANION_ALGORITHM, allows, parts_of
from signerd.attestation.dsse import MOST_SIGNATURES
from signerd.contracts.validity import check_validity
from signerd.errors import Refusal, SignerdError
from signerd.pipeline.evidence import Order
from signerd.pipeline.keyless import default_keyless
from signerd.pipeline.services import Services
from signerd.verification.compliance import check_key, rsa_bits
from signerd.verification.keys import PublicKey
from signerd.verification.rekor2 import key_details
from signerd.wire.ring import RingEntry

__all__ = ["COMPANION", "bundled_keys", "check_published", "choose_key", "choose_keys", "no_such_key", "wants"]

COMPANION = "companion"
"""The source of a key that nobody asked for: it signs so that cosign can verify something too."""


def choose_keys(order: Order, plan: str, services: Services) -> tuple[RingEntry, ...]:
    """Return the ring's entries for what the request names, or the default key of the plan or the tenant.

    In the output profile ``dsse`` a request that names no key is signed by a key for each part of the tenant's joined
    profile, and a companion is added where no key is of ES256 and the tenant has one that may sign.

    Another tenant's key is ``key.not_found`` (T14), and so is a part of the profile that no key covers
    (``part_uncovered``). Every key must be valid now, and its algorithm within the tenant's profile and the output
    profile. ``key.forbidden``: ``approval_only``, ``other_plan``, ``hardware_required``, ``keyless_cose``.
    ``request.unsupported`` (``no_bundle``) where something is to be published and no signature has a bundle.
    """
    options = order.params.options
    tenant = order.tenant
    named: Sequence[str] = options.keys or () if options else ()
    keyless = bool(options and options.mode == "keyless")
    if not named:
        default = tenant.default_keys.get(plan, tenant.default_key)
        keys = [choose_key(default_keyless(order, default) if keyless else default, plan, order, services)]
    else:
        keys = [choose_key(name, plan, order, services) for name in named]
    if order.output.form == "envelope":
        if not named and not keyless:
            _cover(keys, plan, order, services)
        if not order.bare:
            keys += _companion(keys, plan, order, services)
    check_published(order, keys)
    return tuple(keys)


def no_such_key() -> Refusal:
    """Return what is said of a key that does not exist for whoever asks."""
    return Refusal("key.not_found", "no_such_key", "no such key")


def choose_key(name: str, plan: str, order: Order, services: Services) -> RingEntry:
    """Return the version that signs for the reference ``name``; refuses as :func:`choose_keys`."""
    tenant = order.tenant
    entry = services.ring.find(order.principal.tenant, name)
    if entry is None:
        raise (name in tenant.rules and services.ring.why_absent(name)) or no_such_key()
    if entry.makes_macs:
        raise Refusal("key.forbidden", "mac_key", "the key makes MACs; it signs nothing")
    rule = tenant.rules.get(name)
    if rule is not None and rule.approves:
        raise Refusal("key.forbidden", "approval_only", "the key approves what others sign, and signs nothing itself")
    check_validity(entry, services.clock.now_ms())
    check_key(tenant.profile, entry.algorithm, entry.spki)
    order.output.check(entry.algorithm)
    if entry.keyless and not order.output.keyless:
        name = order.output.name
        raise Refusal("key.forbidden", f"keyless_{name}", f"a keyless key does not sign in the output profile {name}")
    if rule is not None and rule.plans is not None and plan not in rule.plans:
        raise Refusal("key.forbidden", "other_plan", "the key does not sign for this plan")
    if tenant.require_hardware and not entry.hardware:
        raise Refusal("key.forbidden", "hardware_required", "the tenant's keys must be in hardware")
    return entry


def wants(order: Order, part: str) -> bool:
    """Whether the request asks for that further part of the result (``options.include``)."""
    options = order.params.options
    return options is not UNSET and options.include is not UNSET and part in options.include


def bundled_keys(order: Order, keys: Sequence[RingEntry]) -> tuple[int, ...]:
    """Return the places among ``keys`` whose signatures leave as bundles."""
    return order.output.bundled([key.algorithm for key in keys], statement=not order.bare)


def _cover(keys: list[RingEntry], plan: str, order: Order, services: Services) -> None:
    """Add, for each part of the profile that no key is of yet, the tenant's first one that may sign.

    A part without such a key is refused, with what stands against the first: a request under a joined profile must not
    be signed by half of it because a key has expired.
    """
    for part in parts_of(order.tenant.profile):
        if any([_is_of(part, key) for key in keys]):
            continue
        error: SignerdError | None = None
        for name, entry in _known(order, services):
            if entry is None:
                error = error or services.ring.why_absent(name)
            elif _is_of(part, entry):
                try:
                    keys.append(choose_key(name, plan, order, services))
                    break
                except SignerdError as why:
                    error = error or why
        else:
            raise error or Refusal(
                "key.not_found",
                "part_uncovered",
                f"the tenant has no key for the part {part} of its compliance profile",
                details={"profile": order.tenant.profile, "part": part},
            )


def _companion(keys: Sequence[RingEntry], plan: str, order: Order, services: Services) -> list[RingEntry]:
    """Return the key that is added, if any; one that cannot sign now is passed over, as nobody has asked for it, and so
    is one that somebody must touch an authenticator for, unless the others need the same touch."""
    if bundled_keys(order, keys) or len(keys) == MOST_SIGNATURES:
        return []
    if not allows(order.tenant.profile, COMPANION_ALGORITHM):
        return []
    rules = order.tenant.rules
    approvers = {None, *[rules[key.key].presence for key in keys if key.key in rules]}
    for name, entry in _known(order, services):
        if rules[name].presence not in approvers:
            continue
        if entry is not None and entry.algorithm == COMPANION_ALGORITHM and not entry.keyless:
            try:
                return [replace(choose_key(name, plan, order, services), source=COMPANION)]
            except SignerdError:
                continue
    return []


def _known(order: Order, services: Services) -> Iterator[tuple[str, RingEntry | None]]:
    """Yield the tenant's keys that sign, in the order of its configuration."""
    for name, rule in order.tenant.rules.items():
        if rule.approves or rule.purposes:
            continue
        yield name, services.ring.find(order.principal.tenant, name)


def _is_of(part: str, key: RingEntry) -> bool:
    try:
        bits = rsa_bits(key.spki) if key.algorithm.startswith("RSA-") else None
    except SignerdError:
        return False
    return allows(part, key.algorithm, bits)


def check_published(order: Order, keys: Sequence[RingEntry]) -> None:
    """Refuse what would be published of no bundle, and keys whose bundles no transparency log takes."""
    wanted = [
        *([f"transparency={order.transparency}"] if order.transparency != "none" else ()),
        *(["timestamp"] if order.timestamp else ()),
        *(["include=rekor_request"] if wants(order, "rekor_request") else ()),
    ]
    places = bundled_keys(order, keys)
    if wanted and not places:
        raise Refusal(
            "request.unsupported",
            "no_bundle",
            f"{wanted[0]} needs a signature by an ES256 key: of the others nothing is published in profile dsse",
            details={"name": wanted[0]},
        )
    if wanted and wanted != ["timestamp"]:
        for place in places:
            if not keys[place].keyless:
                _check_logged(keys[place].spki)


@lru_cache(maxsize=1024)
def _check_logged(spki: bytes) -> None:
    """Refuse (``key.algorithm_refused``, ``not_logged``) a key whose signatures no transparency log takes."""
    key_details(PublicKey.from_spki(spki))
