"""Contract classes for pytest: what a plugin of each kind must keep to, judged inside the process of its own tests.

A subclass named ``Test…`` says which module holds the hooks and gives the examples that only its author knows; pytest
does the rest. An autouse fixture of the subclass may prepare what the settings name.
"""

from signerd_conformance.contracts.key_backend import KeyBackendContract
from signerd_conformance.contracts.mac_backend import MacBackendContract
from signerd_conformance.contracts.plugin import PluginContract
from signerd_conformance.contracts.policy import AuthenticatorContract, EntitlementContract, ReleaseCheckContract
from signerd_conformance.contracts.predicate import PredicateContract
from signerd_conformance.contracts.publishing import AuditSinkContract, TransparencyLogContract
from signerd_conformance.contracts.quota import QuotaStoreContract

__all__ = [
    "AuditSinkContract",
    "AuthenticatorContract",
    "EntitlementContract",
    "KeyBackendContract",
    "MacBackendContract",
    "PluginContract",
    "PredicateContract",
    "QuotaStoreContract",
    "ReleaseCheckContract",
    "TransparencyLogContract",
]
