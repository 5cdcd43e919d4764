import pytest

from signerd.errors import SignerdError
from signerd_key_pkcs11.uri import KeyUri, beside, parse


def refused(reference: str) -> SignerdError:
    with pytest.raises(SignerdError) as caught:
        parse(reference)
    return caught.value


def test_a_label_and_a_token() -> None:
    assert parse("pkcs11:token=release%20token;object=signing") == KeyUri(token="release token", object="signing")


def test_every_attribute_that_leads_to_a_key() -> None:
    uri = parse(
        "pkcs11:token=t;serial=0a;manufacturer=Snake%20Oil,%20Inc.;model=v2;slot-id=327;slot-description=d;"
        "slot-manufacturer=s;library-description=l;library-manufacturer=m;library-version=2.6;object=o;"
        "type=private;id=%00%01%fF?module-name=softhsm"
    )
    assert uri == KeyUri(
        "t", "0a", "Snake Oil, Inc.", "v2", 327, "d", "s", "l", "m", (2, 6), "o", b"\x00\x01\xff", "softhsm"
    )
    assert parse("pkcs11:serial=1;object=o;library-version=3").library_version == (3, 0)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a%2Bb", "a+b"),
        ("a+b", "a+b"),  # no space: this is no form
        ("a%252Fb", "a%2Fb"),  # decoded once
        ("a%3Bobject%3Db", "a;object=b"),
        ("a=b&c", "a=b&c"),
        ("%C3%A4", "ä"),
        ("%e2%82%ac", "€"),
        ("[@]:!$'()*,", "[@]:!$'()*,"),
    ],
)
def test_percent_decoding(written: str, meant: str) -> None:
    assert parse(f"pkcs11:token=t;object={written}").object == meant


def test_an_id_is_bytes() -> None:
    assert parse("pkcs11:token=t;id=%80%00a").id == b"\x80\x00a"


@pytest.mark.parametrize(
    "reference",
    [
        "pkcs11:token=t;object=o?pin-value=1234",
        "pkcs11:token=t;object=o?pin-source=file:/etc/pin",
        "pkcs11:token=t;object=o?module-name=x&pin-value=1234",
        "pkcs11:token=t;object=o;pin-value=1234",
        "pkcs11:pin-value=1234",
        "pkcs11:token=t;nonsense;object=o?PIN-VALUE=1234",
        "pkcs11:token=t;object=a&pin-value=1234",
        "pkcs11:bad=%zz;bad=%zz?pin-value=1234",
        "pkcs11:token=t;object=o?pin-value=",
    ],
)
def test_a_pin_or_the_place_of_one_is_refused_and_not_repeated(reference: str) -> None:
    error = refused(reference)
    assert (error.code, error.reason) == ("key.forbidden", "pin_in_uri")
    assert "1234" not in str(error) + error.public
    assert "/etc" not in str(error) + error.public


def test_a_label_may_speak_of_pins() -> None:
    assert parse("pkcs11:token=t;object=pin-value").object == "pin-value"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("file:default", "reference"),
        ("PKCS11:token=t;object=o", "reference"),
        ("", "reference"),
        ("pkcs11:", "token_unnamed"),
        ("pkcs11:object=o", "token_unnamed"),
        ("pkcs11:slot-id=1;object=o", "token_unnamed"),
        ("pkcs11:token=t", "key_unnamed"),
        ("pkcs11:token=t;object=o;", "uri_attribute"),
        ("pkcs11:token=t;object=o;x-vendor=1", "uri_attribute"),
        ("pkcs11:token=t;Object=o", "uri_attribute"),
        ("pkcs11:token=t;object=o?object=p", "uri_attribute"),
        ("pkcs11:token=t;object=o;module-name=m", "uri_attribute"),
        ("pkcs11:token=t;object=o?module-name=m?module-name=n", None),
        ("pkcs11:token=t;object=o;object=o", "uri_repeated"),
        ("pkcs11:token=t;object=o?module-name=m&module-name=m", "uri_repeated"),
        ("pkcs11:token=t;object=", "uri_malformed"),
        ("pkcs11:token=t;object", "uri_malformed"),
        ("pkcs11:token=t;object=a b", "uri_malformed"),
        ("pkcs11:token=t;object=a/b", "uri_malformed"),
        ("pkcs11:token=t;object=ä", "uri_malformed"),
        ("pkcs11:token=t;object=%", "uri_malformed"),
        ("pkcs11:token=t;object=%4", "uri_malformed"),
        ("pkcs11:token=t;object=%zz", "uri_malformed"),
        ("pkcs11:token=t;object=%ff", "uri_malformed"),
        ("pkcs11:token=t;object=a%00", "uri_malformed"),
        ("pkcs11:token=t;object=o;slot-id=-1", "uri_malformed"),
        ("pkcs11:token=t;object=o;slot-id=1e3", "uri_malformed"),
        ("pkcs11:token=t;object=o;slot-id=%D9%A1", "uri_malformed"),
        ("pkcs11:token=t;object=o;library-version=2.x", "uri_malformed"),
        ("pkcs11:token=t;object=o;type=public", "uri_type"),
        ("pkcs11:token=t;object=o;type=cert", "uri_type"),
    ],
)
def test_what_is_no_reference_to_a_private_key_is_not_found(reference: str, reason: str | None) -> None:
    if reason is None:
        assert parse(reference).module == "m?module-name=n"
        return
    error = refused(reference)
    assert (error.code, error.reason) == ("key.not_found", reason)


def test_a_reference_names_no_file_to_load() -> None:
    error = refused("pkcs11:token=t;object=o?module-path=/tmp/evil.so")
    assert (error.code, error.reason) == ("key.forbidden", "module_path_in_uri")


@pytest.mark.parametrize(
    ("reference", "start", "end"),
    [
        ("pkcs11:token=demo;object=a%20b", "pkcs11:token=demo;object=a%20b.v2;id=", ""),
        ("pkcs11:object=k.v7;id=%01;token=demo?module-name=m", "pkcs11:token=demo;object=k.v2;id=", "?module-name=m"),
        ("pkcs11:token=demo;id=%0a%ff", "pkcs11:token=demo;object=0aff.v2;id=", ""),
    ],
)
def test_a_new_version_has_a_label_that_says_so_and_an_id_of_its_own(reference: str, start: str, end: str) -> None:
    made = beside(reference, 2)
    assert made.startswith(start)
    assert made.endswith(end)
    found = parse(made)
    assert (found.token, len(found.id or b"")) == ("demo", 16)
    assert parse(beside(reference, 2)).id != found.id
