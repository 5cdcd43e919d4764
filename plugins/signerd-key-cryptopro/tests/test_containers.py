import pytest

from fakes.gost_tokens import GostToken
from signerd.errors import SignerdError
from signerd.verification.gost import LARGEST_MESSAGE
from signerd_key_cryptopro.containers import Containers
from signerd_key_cryptopro.settings import Container, ToolSettings
from signerd_key_cryptopro.tool import Tool
from signerd_key_cryptopro.workspace import Workspace
from signerd_key_pkcs11.settings import ModuleFile, SignatureOrder

pytestmark = pytest.mark.needs("gost-engine", "gcc")

MESSAGE = b"what is signed"


def containers(token: GostToken, public_key: object, order: SignatureOrder = SignatureOrder.REVERSED) -> Containers:
    listed = {"k": Container("\\\\.\\HDIMAGE\\k", str(public_key))}
    settings = ToolSettings(ModuleFile(str(token.tool)), listed, order, 60.0)
    state = str(token.base / "state")
    return Containers(settings, Tool(settings, Workspace(state), token.environment), state)


def refused(made: Containers, name: str = "k") -> str:
    with pytest.raises(SignerdError) as caught:
        made.describe(name)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.fixture
def token(gost_token: GostToken) -> GostToken:
    gost_token.add("k")
    return gost_token


def test_a_certificate_says_the_same_as_a_public_key(token: GostToken) -> None:
    der = token.certify("k")
    pem = token.base / "k.cert.pem"
    pem.write_bytes(token.openssl.openssl("x509", "-inform", "DER", stdin=der))
    bare = containers(token, token.public("k")).describe("k")
    assert bare.chain == ()
    for path in (token.keys / "k.crt", pem):
        described = containers(token, path).describe("k")
        assert (described.keyid, described.spki, described.chain) == (bare.keyid, bare.spki, (der,))


def test_a_container_is_proved_once_and_then_signs(token: GostToken) -> None:
    made = containers(token, token.public("k"))
    assert refused(made, "nobody") == "key.not_found no_such_container"
    for _ in range(3):
        assert token.verifies("k", made.sign("k", MESSAGE).signature, MESSAGE)
    assert len(token.calls()) == 4
    assert list((token.base / "state").iterdir()) == []


def test_the_public_key_of_another_is_found_out(token: GostToken) -> None:
    token.add("l", "TC26-256-B")
    token.add("m", "TC26-512-A")
    assert refused(containers(token, token.public("l"))) == "key.backend_fault public_key_mismatch"
    assert refused(containers(token, token.public("m"))) == "key.algorithm_refused mechanism_refused"


def test_the_other_byte_order_is_found_out(token: GostToken) -> None:
    assert refused(containers(token, token.public("k"), SignatureOrder.S_R)) == "key.backend_fault byte_order"
    token.go_wrong("s-r")
    made = containers(token, token.public("k"), SignatureOrder.S_R)
    assert token.verifies("k", made.sign("k", MESSAGE).signature, MESSAGE)


def test_a_file_without_a_public_key_of_gost(token: GostToken) -> None:
    place = token.base / "public"
    assert refused(containers(token, place)) == "key.backend_fault public_key_unreadable"
    for data in (b"", b"\xff" * 100, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", bytes(70_000)):
        place.write_bytes(data)
        assert refused(containers(token, place)) == "key.backend_fault public_key_unreadable"
    rsa = token.base / "rsa.pem"
    openssl = token.openssl.openssl
    openssl("genpkey", "-algorithm", "RSA", "-out", rsa)
    place.write_bytes(openssl("pkey", "-in", rsa, "-pubout"))
    assert refused(containers(token, place)) == "key.algorithm_refused key_type"
    place.write_bytes(openssl("req", "-x509", "-new", "-key", rsa, "-subj", "/CN=k"))
    assert refused(containers(token, place)) == "key.algorithm_refused key_type"
    assert token.calls() == []


def test_what_nobody_could_verify_is_not_signed(token: GostToken) -> None:
    made = containers(token, token.public("k"))
    with pytest.raises(SignerdError) as caught:
        made.sign("k", bytes(LARGEST_MESSAGE + 1))
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "gost_payload_too_large")


def test_a_tool_that_hangs_spends_no_try(token: GostToken) -> None:
    for _ in range(4):
        token.go_wrong("0x80090022")
        assert refused(containers(token, token.public("k"))) == "key.backend_unavailable pin_required"
    token.go_wrong("")
    assert containers(token, token.public("k")).describe("k").algorithm == "GOST3410-2012-256"
