"""What is asked: shape, catalogue, scope. Nothing after this stage sees a request that is not understood."""

import secrets
from typing import cast

from msgspec import UNSET, UnsetType

from signerd.attestation.output import COSIGN, DSSE, OUTPUT_PROFILES, OutputProfile
from signerd.attestation.statement import MOST_DIGESTS, PAYLOAD_TYPE, Subject, check_subjects
from signerd.contracts.providers import PredicateType
from signerd.contracts.values import Principal
from signerd.errors import Refusal
from signerd.pipeline.evidence import Order
from signerd.pipeline.request import SignRequest
from signerd.pipeline.services import Bounds, Services
from signerd.pipeline.tenants import Tenant
from signerd.wire.methods import Descriptor, Options, SignDsse, SignPayload, decode_params
from signerd.wire.methods import Subject as AskedSubject

__all__ = ["KEYLESS_SCOPE", "SIGN_SCOPE", "understand"]

SIGN_SCOPE = "signer.sign"
KEYLESS_SCOPE = "signer.keyless"
"""To have an identity token used that came with the request."""
_STAND_IN = secrets.token_hex(24)
UNNAMED = "payload"
"""The name in the record of a bare document that came without a subject."""
_OF_BUNDLES = frozenset({"rekor_request"})
"""What is asked for of a bundle, which no bare document has."""


async def understand(principal: Principal, request: SignRequest, services: Services) -> Order:
    """Return the request as an order for one Statement, or for one bare document of a catalogued payload type.

    Reasons are found in this order: shape (``request.*``, ``statement.*``), catalogue
    (``predicate.unsupported``), scope (``auth.scope_missing``). An option that this daemon does not serve is
    ``request.unsupported`` with ``details.name``: nothing that could change the meaning of a request is
    ignored.
    """
    params = request.params
    if isinstance(params, Refusal):
        raise params
    if not isinstance(params, SignDsse | SignPayload):
        params = cast("SignDsse | SignPayload", decode_params(request.method, params))
        services.check_claims((params,), request.fds)
    output = _output_profile(params)
    has_bundles = output.publishes and not isinstance(params, SignPayload)
    publishers = services.published if has_bundles else frozenset[str]()
    _refuse_unserved(params, output, publishers)
    subjects = _subjects(params.subject, services.bounds, gost=output.gost_digests)
    _check_document_size(params, services.bounds)
    tenant = services.tenants.get(principal.tenant)
    if tenant is None:
        raise Refusal("auth.tenant_mismatch", "unknown_tenant", "this tenant is not served here")
    kind = _kind(params, services)
    if tenant.predicates is not None and kind.uri not in tenant.predicates:
        raise Refusal("predicate.unsupported", "not_allowed", "this predicate type is not allowed for the tenant")
    if params.policy is not UNSET and not kind.needs_policy:
        raise _unserved("policy")
    if SIGN_SCOPE not in principal.scopes:
        raise Refusal("auth.scope_missing", "scope_missing", f"the scope {SIGN_SCOPE} is missing")
    options = params.options
    if options and options.identity_token is not UNSET and KEYLESS_SCOPE not in principal.scopes:
        raise Refusal("auth.scope_missing", "scope_missing", f"the scope {KEYLESS_SCOPE} is missing")
    transparency, timestamp = _published(params.options, tenant, publishers)
    payload_type = params.payload_type if isinstance(params, SignPayload) else PAYLOAD_TYPE
    order = Order(request, params, principal, tenant, kind, subjects, transparency, timestamp, output, payload_type)
    request.order = order
    return order


def _output_profile(params: SignDsse | SignPayload) -> OutputProfile:
    """Return the form in which signatures leave."""
    asked = params.options.profile if params.options else UNSET
    bare = isinstance(params, SignPayload)
    output = OUTPUT_PROFILES[asked] if asked else DSSE if bare else COSIGN
    if bare and not output.bare:
        raise _unserved(f"profile={output.name}")
    return output


def _kind(params: SignDsse | SignPayload, services: Services) -> PredicateType:
    if isinstance(params, SignPayload):
        return services.catalogue.find_payload(params.payload_type).provider
    return services.catalogue.find(params.predicate_type).provider


def _subjects(asked: tuple[AskedSubject, ...] | UnsetType, bounds: Bounds, *, gost: bool) -> tuple[Subject, ...]:
    """Return the subjects as they are known; one that is still to be hashed has no digest yet."""
    if asked is UNSET:
        return (Subject(UNNAMED, {}),)
    if len(asked) > bounds.subjects:
        raise Refusal("statement.invalid", "too_many_subjects", f"a statement has at most {bounds.subjects} subjects")
    subjects = tuple([Subject(s.name, {} if s.digest is UNSET else s.digest) for s in asked])
    # What the daemon hashes itself cannot be malformed, and equal digests are found once all are known. Until
    # then each has a stand-in, no two alike, that no caller can guess.
    judged = [
        subject if asked[index].digest is not UNSET else Subject(subject.name, {"sha256": f"{_STAND_IN}{index:016x}"})
        for index, subject in enumerate(subjects)
    ]
    # Sigstore's verifiers know no GOST digests, so they stand in what is not for them alone.
    check_subjects(judged, allow_gost=gost, max_digests=min(bounds.digests, MOST_DIGESTS))
    return subjects


def _check_document_size(params: SignDsse | SignPayload, bounds: Bounds) -> None:
    document = params.document
    if isinstance(document, Descriptor):
        if document.size > bounds.payload_bytes:
            raise Refusal(
                "request.too_large",
                "payload_too_large",
                "the document is larger than this daemon takes",
                details={"limit": bounds.payload_bytes},
            )
    elif len(document) > bounds.inline_bytes:
        raise Refusal(
            "request.too_large",
            "inline_too_large",
            "a document of this size comes by descriptor",
            details={"limit": bounds.inline_bytes},
        )


def _published(options: Options | UnsetType, tenant: Tenant, publishers: frozenset[str]) -> tuple[str, bool]:
    """Return what is to be published: the request's word, else the tenant's.

    What cannot be is refused, the tenant's own too: it must not be left out because of the form.
    """
    transparency, timestamp = tenant.transparency, tenant.timestamp
    if options is not UNSET:
        transparency = transparency if options.transparency is UNSET else options.transparency
        timestamp = timestamp if options.timestamp is UNSET else options.timestamp
    _refuse_unpublished(transparency, timestamp, publishers)
    return transparency, timestamp


def _refuse_unpublished(transparency: str, timestamp: bool, kinds: frozenset[str]) -> None:  # an option
    if transparency != "none" and "log" not in kinds:
        raise _unserved(f"transparency={transparency}")
    if timestamp and "stamp" not in kinds:
        raise _unserved("timestamp")


def _refuse_unserved(params: SignDsse | SignPayload, output: OutputProfile, publishers: frozenset[str]) -> None:
    if params.idempotency_key is not UNSET:
        raise _unserved("idempotency_key")
    options = params.options
    if options is UNSET:
        return
    _refuse_unpublished(options.transparency or "none", options.timestamp is True, publishers)
    if options.include is not UNSET:
        served = output.includes - _OF_BUNDLES if isinstance(params, SignPayload) else output.includes
        for name in options.include:
            if name not in served:
                raise _unserved(f"include={name}")


def _unserved(name: str) -> Refusal:
    return Refusal("request.unsupported", "not_served", f"this daemon does not serve {name}", details={"name": name})
