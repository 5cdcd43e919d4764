from typing import Any

import msgspec
import pytest

from signerd.host.config_keyless import Keyless

GOOD: dict[str, Any] = {"ca": "/ca.pem", "issuers": ["https://issuer.example"], "ct_log_keys": ["/ct.pem"]}


def test_the_defaults_promise_nothing_that_is_not_proven() -> None:
    read = msgspec.convert(GOOD, Keyless)
    assert (read.ephemeral_ok, read.identities, read.audience, read.ct_log) == (False, None, "sigstore", None)


@pytest.mark.parametrize(
    "change",
    [
        {"ca": "ca.pem"},
        {"ca": "/a\0b"},
        {"issuers": []},
        {"issuers": [""]},
        {"ct_log_keys": []},
        {"ct_log_keys": ["ct.pem"]},
        {"ct_log": "some"},
        {"identities": []},
        {"audience": ""},
        {"colour": "blue"},
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**GOOD, **change}, Keyless)
