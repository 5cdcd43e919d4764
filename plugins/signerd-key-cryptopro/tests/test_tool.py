"""The tool misbehaves in every way that a process can; a stand-in of ours does it, and signs for real otherwise."""

import resource
from pathlib import Path

import pytest

from fakes.gost_tokens import GostToken
from running.configured import until
from signerd.errors import SignerdError
from signerd_key_cryptopro.settings import Container, ToolSettings
from signerd_key_cryptopro.tool import PinRefused, Tool
from signerd_key_cryptopro.workspace import Workspace
from signerd_key_pkcs11.settings import ModuleFile

pytestmark = pytest.mark.needs("gost-engine", "gcc")

MESSAGE = b"what is signed"
CONTAINER = Container("\\\\.\\HDIMAGE\\k", "/nowhere")


def made(token: GostToken, timeout_s: float = 60.0, **more: str) -> Tool:
    settings = ToolSettings(ModuleFile(str(token.tool), **more), {}, timeout_s=timeout_s)
    return Tool(settings, Workspace(str(token.base / "state")), token.environment)


def refused(token: GostToken, timeout_s: float = 60.0, container: Container = CONTAINER, **more: str) -> str:
    with pytest.raises(SignerdError) as caught:
        made(token, timeout_s, **more).sign(container, 256, MESSAGE)
    assert list((token.base / "state").glob("tool-*")) == [], "no file is left"
    return f"{caught.value.code} {caught.value.reason}"


@pytest.fixture
def token(gost_token: GostToken) -> GostToken:
    gost_token.add("k")
    return gost_token


def test_it_is_asked_by_a_list_of_arguments_none_of_which_is_a_pin(token: GostToken) -> None:
    signature = made(token).sign(CONTAINER, 256, MESSAGE)
    assert token.verifies("k", signature[::-1], MESSAGE)
    (call,) = token.calls()
    asked = call.split(" ")
    folder = asked[asked.index("-in") + 1].removesuffix("/message")
    assert folder.startswith(f"{token.base}/state/tool-")
    assert asked == [
        "-keyset", "-sign", "GOST12_256", "-container", CONTAINER.name, "-keytype", "exchange",
        "-in", f"{folder}/message", "-out", f"{folder}/signature", "-silent",
    ]  # fmt: skip
    assert not Path(folder).exists()


def test_a_name_with_a_shells_signs_stays_one_argument(token: GostToken) -> None:
    name = "\\\\.\\HDIMAGE\\k; touch owned $(id) 'x'"
    assert refused(token, container=Container(name, "/nowhere")) == "key.not_found container_missing"
    assert f"-container {name} -keytype" in token.calls()[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("0x80090016", "key.not_found container_missing"),
        ("0x8009000d", "key.not_found no_such_key"),
        ("0x80090022", "key.backend_unavailable pin_required"),
        ("0x8010000c", "key.backend_unavailable token_absent"),
        ("0x80090008", "key.algorithm_refused mechanism_refused"),
        ("0x80090020", "key.backend_fault tool_failed"),
        ("garbage", "key.backend_fault tool_output"),
        ("flood", "key.backend_fault tool_output"),
        ("silent", "key.backend_fault tool_output"),
        ("twice", "key.backend_fault tool_output"),
        ("exit", "key.backend_fault tool_failed"),
        ("short", "key.backend_fault signature_shape"),
        ("link", "key.backend_fault signature_shape"),
    ],
)
def test_what_it_does_wrong(token: GostToken, fault: str, said: str) -> None:
    token.go_wrong(fault)
    assert refused(token) == said
    token.go_wrong("")
    assert token.verifies("k", made(token).sign(CONTAINER, 256, MESSAGE)[::-1], MESSAGE), "and the next call is well"


@pytest.mark.parametrize(("code", "reason"), [("0x8010006b", "pin_incorrect"), ("0x8010006c", "pin_locked")])
def test_a_pin_that_the_csp_keeps_is_refused(token: GostToken, code: str, reason: str) -> None:
    token.go_wrong(code)
    with pytest.raises(PinRefused) as caught:
        made(token).sign(CONTAINER, 256, MESSAGE)
    assert (caught.value.fault.code, caught.value.fault.reason) == ("key.backend_fault", reason)


def test_a_key_of_another_type_is_refused(token: GostToken) -> None:
    token.add("l", "TC26-512-A")
    said = refused(token, container=Container("\\\\.\\HDIMAGE\\l", "/x"))
    assert said == "key.algorithm_refused mechanism_refused"


def test_one_that_hangs_is_killed(token: GostToken) -> None:
    token.go_wrong("hang")
    assert refused(token, 0.5) == "key.backend_unavailable tool_timeout"


def test_what_it_has_started_is_killed_with_it(token: GostToken) -> None:
    token.go_wrong("child")
    started = token.keys / "child"
    for seconds in (1.0, 4.0, 16.0):  # on a machine that is busy it may be killed before it has started anything
        assert refused(token, seconds) == "key.backend_unavailable tool_timeout"
        if started.exists() and started.read_text():
            break
    pid = int(started.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_a_full_disk_leaves_nothing_behind(token: GostToken) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(SignerdError) as caught:
            made(token).sign(CONTAINER, 256, bytes(2**21))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.code, caught.value.reason) == ("key.backend_unavailable", "tool_folder")
    assert list((token.base / "state").iterdir()) == []
    assert token.calls() == []


def test_its_file_is_held_to_what_a_module_is(token: GostToken) -> None:
    assert refused(token, sha256="ab" * 32) == "key.backend_fault tool_digest"
    token.tool.chmod(0o777)
    assert refused(token) == "key.backend_fault tool_mode"
    token.tool.chmod(0o644)
    assert refused(token) == "key.backend_fault tool_mode"
    token.tool.write_bytes(b"\0no program")
    token.tool.chmod(0o755)
    assert refused(token) == "key.backend_fault tool_failed"
    token.tool.unlink()
    assert refused(token) == "key.backend_unavailable tool_missing"
    token.tool.mkdir()
    assert refused(token) == "key.backend_fault tool_type"
    assert token.calls() == []
