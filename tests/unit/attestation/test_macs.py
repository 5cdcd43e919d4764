import hashlib
import hmac
from typing import get_args

import pytest

from signerd.attestation.macs import KEYID_LABEL, MACS, MacName, is_mac_keyid, mac_for, mac_keyid

SHA2 = ("HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512")
GOST = ("HMAC-GOST3411-2012-256", "HMAC-GOST3411-2012-512")


@pytest.mark.parametrize(
    ("profile", "allowed"),
    [
        ("world", SHA2),
        ("fips", SHA2),
        ("eidas", SHA2),
        ("kcmvp", ("HMAC-SHA256",)),
        ("gost", GOST),
        ("sm", ("HMAC-SM3",)),
        ("fips+gost", (*SHA2, *GOST)),
        ("gost+fips", (*GOST, *SHA2)),
        ("world+fips", SHA2),
    ],
)
def test_what_a_profile_allows_the_default_first(profile: str, allowed: tuple[str, ...]) -> None:
    assert mac_for(profile, "signing") == mac_for(profile, "authentication") == allowed
    assert mac_for(profile, "webhook-interop") == ("HMAC-SHA256",)


@pytest.mark.parametrize("profile", ["", "none", "gost+", "fips+none"])
def test_a_name_that_is_no_profile(profile: str) -> None:
    for purpose in ("signing", "webhook-interop"):
        with pytest.raises(KeyError):
            mac_for(profile, purpose)


def test_the_published_names_are_those_that_a_configuration_may_hold() -> None:
    assert set(MACS) == set(get_args(MacName))
    assert {name: spec.mac_bytes for name, spec in MACS.items()} == {
        "HMAC-SHA256": 32, "HMAC-SHA384": 48, "HMAC-SHA512": 64,
        "HMAC-GOST3411-2012-256": 32, "HMAC-GOST3411-2012-512": 64, "HMAC-SM3": 32,
    }  # fmt: skip
    assert all(32 <= spec.shortest_key <= spec.longest_key <= 128 for spec in MACS.values())


def test_the_id_of_a_key_as_docs_have_it() -> None:
    label_mac = hmac.digest(bytes(range(32)), KEYID_LABEL, "sha256")
    keyid = mac_keyid(label_mac)
    assert keyid == f"sha256:{hashlib.sha256(label_mac).hexdigest()}"
    assert keyid == "sha256:a6bbcd29456323ccd8d8dc22586946548f18daec796c1a074afdb48bf41e7308"
    assert is_mac_keyid(keyid)
    for other in ("", keyid[:-1], keyid.upper(), keyid + "\n", keyid.removeprefix("sha256:")):
        assert not is_mac_keyid(other)
