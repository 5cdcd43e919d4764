from typing import Any, cast

import pytest

from signerd.contracts.values import Peer
from signerd.daemon.doors import Doors, Opener, admin_principal


def doors(sign: frozenset[int] = frozenset(), admin: frozenset[int] = frozenset()) -> Doors:
    return Doors(sign, admin, cast("Any", None))


@pytest.mark.parametrize(
    ("sign", "admin", "via", "let_in"),
    [
        (frozenset(), frozenset(), "sign", True),
        (frozenset({7}), frozenset(), "sign", True),
        (frozenset({8}), frozenset(), "sign", False),
        (frozenset(), frozenset(), "admin", False),
        (frozenset(), frozenset({7}), "admin", True),
        (frozenset({7}), frozenset({8}), "admin", False),
    ],
)
def test_no_list_leaves_the_sign_socket_to_the_authenticators_and_closes_the_admin_socket(sign, admin, via, let_in):
    assert doors(sign, admin).let_in(7, via) is let_in


def test_a_session_ends_with_the_process_that_opened_it():
    closed = []

    class Session:
        def close(self) -> None:
            closed.append(self)

    session = Session()
    Opener(cast("Any", session)).ready(1)
    assert closed == [session]


def test_an_admin_has_no_tenant_and_may_read_the_log_alone():
    principal = admin_principal(Peer(7, 7, 42, 1))
    assert (principal.name, principal.tenant, principal.scopes) == ("uid:7", "", {"signer.audit"})
