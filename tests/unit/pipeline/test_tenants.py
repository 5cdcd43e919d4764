import dataclasses

import pytest

from signerd.attestation.algorithms import COMPLIANCE_PROFILES
from signerd.pipeline.tenants import Tenant


def test_a_tenant_has_the_whole_catalogue_and_no_exemption_unless_told() -> None:
    tenant = Tenant("acme", "file:acme")
    assert (tenant.predicates, tenant.exempt, tenant.require_attested) == (None, frozenset(), False)
    assert tenant.profile in COMPLIANCE_PROFILES


def test_a_tenant_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tenant("acme", "file:acme").default_key = "file:other"  # type: ignore[misc]  # that it cannot is the test
