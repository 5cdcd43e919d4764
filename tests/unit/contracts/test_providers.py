import inspect
from typing import get_type_hints

import pytest

from signerd.contracts import providers
from signerd.contracts.providers import (
    Authenticator,
    EntitlementSource,
    Generator,
    KeyBackend,
    PayloadType,
    ReleaseCheck,
)

PROTOCOLS = [
    getattr(providers, name)
    for name in providers.__all__
    if getattr(getattr(providers, name), "_is_protocol", False)
]


def test_every_kind_of_plugin_has_a_contract():
    assert {protocol.__name__ for protocol in PROTOCOLS} == set(providers.__all__) - {"Maybe"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_contract_can_be_checked_when_a_plugin_is_loaded(protocol):
    assert not isinstance(object(), protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_method_answers_with_a_bare_boolean(protocol):
    methods = [
        method for name, method in vars(protocol).items() if inspect.isfunction(method) and name[0] != "_"
    ]
    assert methods or protocol is PayloadType, "what adds an attribute alone"
    for method in methods:
        assert get_type_hints(method)["return"] is not bool
        assert method.__doc__


def test_what_has_the_methods_is_a_provider_and_what_has_others_is_not():
    class Source:
        def entitle(self, principal, proof): ...

    class Backend:
        capabilities = ()

        def describe(self, key): ...

        def sign(self, key, message): ...

    assert isinstance(Source(), EntitlementSource)
    assert not isinstance(Source(), Authenticator | ReleaseCheck)
    assert isinstance(Backend(), KeyBackend)
    assert not isinstance(Backend(), Generator)
    del Backend.capabilities
    assert not isinstance(Backend(), KeyBackend)
