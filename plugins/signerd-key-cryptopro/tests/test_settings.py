import pytest

from signerd_key_cryptopro.settings import MODULE, PROGRAM, Container, Settings, ToolSettings, understand
from signerd_key_pkcs11.settings import ModuleFile, SignatureOrder

VENDOR = {"modules": {"cryptopro": MODULE}, "gost": {"signature": "reversed", "digest_parameter": True}}
RELEASE = {"name": "\\\\.\\HDIMAGE\\release", "public_key": "/release.cer"}


def test_the_vendors_places_and_habits_are_the_default() -> None:
    assert understand({}) == Settings(VENDOR)
    assert understand({"state": "/state", "pin_file": "/pin"}) == Settings(
        {"state": "/state", "pin_file": "/pin", **VENDOR}, "/state"
    )
    said = understand({"gost": {"digest_parameter": False}, "modules": {"m": "/m.so"}})
    assert said.module == {"modules": {"m": "/m.so"}, "gost": {"signature": "reversed", "digest_parameter": False}}


def test_a_tool_and_its_containers() -> None:
    given = {
        "state": "/state",
        "environment": {"CRYPTOPRO": "x"},
        "tool": {
            "path": "/csptest", "sha256": "ab" * 32, "signature": "s-r", "timeout_s": 3,
            "containers": {"release": {**RELEASE, "key": "signature"}},
        },
    }  # fmt: skip
    understood = understand(given)
    assert understood.environment == {"CRYPTOPRO": "x"}
    container = Container(RELEASE["name"], "/release.cer", "signature")
    program = ModuleFile("/csptest", "ab" * 32)
    assert understood.tool == ToolSettings(program, {"release": container}, SignatureOrder.S_R, 3.0)
    little = understand({"state": "/state", "tool": {"containers": {"release": RELEASE}}}).tool
    assert little == ToolSettings(ModuleFile(PROGRAM), {"release": Container(RELEASE["name"], "/release.cer")})


@pytest.mark.parametrize("place", ["pin", "password", "pin_file", "pin_credential"])
def test_a_container_with_a_pin_is_understood_and_refused(place: str) -> None:
    tool = {"containers": {"a": RELEASE, "b": {**RELEASE, place: "1234"}}}
    understood = understand({"state": "/state", "tool": tool})
    assert understood.tool is None
    assert (understood.refused or "").startswith("tool.containers.b: the tool takes a PIN as an argument alone")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tool": {}}, "state: an absolute path is expected"),
        ({"tool": "x"}, "tool: a table of path, sha256, signature, timeout_s and containers is expected"),
        ({"tool": {}}, "tool.containers: a table of NAME = "),
        ({"tool": {"containers": {}}}, "tool.containers: at least one NAME"),
        ({"tool": {"containers": {"a b": RELEASE}}}, "tool.containers.a b: a name of letters"),
        ({"tool": {"containers": {"a": "x"}}}, "tool.containers.a: a table of name, public_key and key is expected"),
        ({"tool": {"containers": {"a": {**RELEASE, "x": 1}}}}, "tool.containers.a.x: unknown key"),
        ({"tool": {"containers": {"a": {**RELEASE, "name": "-password"}}}}, "tool.containers.a.name: the container's"),
        ({"tool": {"containers": {"a": {**RELEASE, "name": "a\nb"}}}}, "tool.containers.a.name: the container's"),
        ({"tool": {"containers": {"a": {**RELEASE, "name": ""}}}}, "tool.containers.a.name: the container's"),
        ({"tool": {"containers": {"a": {**RELEASE, "name": "x" * 261}}}}, "tool.containers.a.name: the container's"),
        ({"tool": {"containers": {"a": {**RELEASE, "key": "both"}}}}, "tool.containers.a.key: one of exchange, sign"),
        ({"tool": {"containers": {"a": {"name": "a"}}}}, "tool.containers.a.public_key: an absolute path is expected"),
        ({"tool": {"containers": {"a": RELEASE}, "path": "csptest"}}, "tool.path: an absolute path is expected"),
        ({"tool": {"containers": {"a": RELEASE}, "sha256": "x"}}, "tool.sha256: 64 lowercase hex digits"),
        ({"tool": {"containers": {"a": RELEASE}, "arguments": "-password 1"}}, "tool.arguments: unknown key"),
        ({"tool": {"containers": {"a": RELEASE}, "signature": "r-s"}}, "tool.signature: one of s-r, reversed is"),
        ({"tool": {"containers": {"a": RELEASE}, "timeout_s": 0}}, "tool.timeout_s: seconds from 0.1 to 60 are"),
        ({"tool": {"containers": {"a": RELEASE}, "timeout_s": True}}, "tool.timeout_s: seconds from 0.1 to 60 are"),
        ({"gost": {"signature": "big"}}, "gost.signature: one of s-r, reversed is expected"),
        ({"gost": "reversed"}, "gost: a table of"),
        ({"pin_file": "/pin"}, "state: an absolute path is expected, where a wrong PIN is remembered"),
        ({"library": "/x"}, "library: unknown key"),
    ],
)
def test_what_is_not_understood_is_said(given: dict[str, object], sentence: str) -> None:
    state = {} if sentence.startswith("state") else {"state": "/state"}
    with pytest.raises(ValueError, match=f"^{sentence}"):
        understand({**state, **given})
