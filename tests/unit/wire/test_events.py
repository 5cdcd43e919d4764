from signerd.errors import Fault, Refusal
from signerd.wire.events import LocalProtocolError, RemoteProtocolError, broken
from signerd.wire.messages import Error


def test_a_breach_by_the_peer_carries_what_it_is_told() -> None:
    error = broken("second_hello")
    assert isinstance(error, RemoteProtocolError)
    assert isinstance(error, Refusal)
    assert error.error == Error(
        code="request.malformed", message=error.public, retryable=False, details={"reason": "second_hello"}
    )
    assert broken("missing_field", "nonce").details == {"reason": "missing_field", "field": "nonce"}


def test_a_breach_of_ours_is_a_fault_whose_text_stays_here() -> None:
    error = LocalProtocolError("id 5 twice")
    assert isinstance(error, Fault)
    assert "id 5 twice" in str(error)
    assert "5" not in error.public
