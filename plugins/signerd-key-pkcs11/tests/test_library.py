"""The trap of C_Initialize(NULL) is run here with several threads, in processes of their own: it crashes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.tokens import PIN, Shim, SoftHsm
from signerd.errors import SignerdError
from signerd_key_pkcs11.library import Libraries, LockingLibrary
from signerd_key_pkcs11.settings import ModuleFile

pytestmark = pytest.mark.needs("softhsm2")

OS_LOCKING = 2
OK, CANNOT_LOCK, ALREADY = 0x0, 0xA, 0x191

THREADS = """
import sys, threading
from pkcs11 import Attribute, KeyType, Mechanism
from signerd_key_pkcs11.library import LockingLibrary

library = LockingLibrary(sys.argv[1])
token = next(library.get_tokens(token_label="demo"))
keep = token.open(rw=True, user_pin=sys.argv[2])
curve = {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
keep.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
    id=b"1", label="k", store=True, mechanism=Mechanism.EC_KEY_PAIR_GEN
)
failed = []
start = threading.Barrier(4)

def work():
    try:
        start.wait(20)
        for _ in range(4):
            session = token.open()
            key = next(iter(list(session.get_objects({Attribute.LABEL: "k", Attribute.SIGN: True}))))
            for _ in range(150):
                key.sign(bytes(32), mechanism=Mechanism.ECDSA)
            session.close()
    except BaseException as exc:
        failed.append(repr(exc))

threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
library.finalize()
print(failed or "clean")
"""


def test_four_threads_at_once_do_no_harm(hsm: SoftHsm) -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", THREADS, hsm.module, PIN],
            env={**os.environ, **hsm.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "clean"), done.stderr


@pytest.mark.needs("gcc")
def test_a_module_is_told_that_there_are_threads(shim: Shim) -> None:
    os.environ.update(shim.environment)
    library = LockingLibrary(str(shim.module))
    assert shim.calls("C_Initialize") == [(OK, OS_LOCKING)], "once, and never with NULL"
    library.initialize()
    library.finalize()
    library.initialize()
    assert shim.calls("C_Initialize") == [(OK, OS_LOCKING), (ALREADY, OS_LOCKING), (OK, OS_LOCKING)]
    assert "demo" in {slot.get_token().label for slot in library.get_slots(token_present=True)}


@pytest.mark.needs("gcc")
def test_a_module_that_will_not_lock_is_not_used(shim: Shim) -> None:
    os.environ.update(shim.environment)
    shim.fail("C_Initialize", hex(CANNOT_LOCK))
    with pytest.raises(SignerdError) as caught:
        LockingLibrary(str(shim.module))
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "module_locking")


@pytest.mark.needs("p11-kit")
def test_a_module_with_a_list_for_each_caller_is_initialised_as_well(hsm: SoftHsm) -> None:
    (proxy,) = sorted(Path("/usr/lib").glob("*/p11-kit-proxy.so"))
    library = LockingLibrary(str(proxy))
    assert library.initialized
    assert library.get_slots() is not None
    library.finalize()
    assert not library.initialized


def test_modules_are_loaded_once_with_their_environment_and_only_if_their_file_may_be(hsm: SoftHsm) -> None:
    broken = hsm.base / "broken.so"
    broken.write_bytes(b"no module")
    files = {"broken": ModuleFile(str(broken)), "softhsm": ModuleFile(str(hsm.module))}
    libraries = Libraries(files, hsm.environment)
    assert libraries.get("softhsm") is libraries.get("softhsm")
    assert os.environ["SOFTHSM2_CONF"] == str(hsm.configuration)
    assert [name for name, _ in libraries.each(None)] == ["softhsm"], "what is broken does not stop the rest"
    assert [name for name, _ in libraries.each("softhsm")] == ["softhsm"]
    assert list(libraries.each("nobody")) == []
    for reason, mode in (("module_failed", 0o600), ("module_mode", 0o666)):
        broken.chmod(mode)
        with pytest.raises(SignerdError) as caught:
            libraries.get("broken")
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", reason)
        with pytest.raises(SignerdError) as caught:
            list(Libraries({"broken": files["broken"]}, {}).each(None))
        assert caught.value.reason == reason


@pytest.mark.needs("gcc")
def test_a_module_that_cannot_be_initialised_again_is_tried_at_its_next_use(shim: Shim) -> None:
    libraries = Libraries({"shim": ModuleFile(str(shim.module))}, shim.environment)
    library = libraries.get("shim")
    shim.fail("C_Initialize", "0x30", 2)
    with pytest.raises(SignerdError):
        libraries.restart("shim")
    with pytest.raises(SignerdError):
        libraries.get("shim")
    assert libraries.get("shim") is library
    assert library.get_slots()


@pytest.mark.needs("gcc")
def test_a_refresh_spares_whom_it_must_and_comes_once_a_second(shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = Libraries({"shim": ModuleFile(str(shim.module))}, shim.environment)
    assert not libraries.refresh(()), "nothing is loaded"
    libraries.get("shim")
    assert not libraries.refresh(())
    monkeypatch.setattr("signerd_key_pkcs11.library.REFRESH_S", 0.0)
    assert not libraries.refresh({"shim"})
    assert libraries.refresh(())
    assert shim.calls("C_Initialize") == [(OK, OS_LOCKING)] * 2
    shim.fail("C_Initialize", "0x30")
    assert libraries.refresh(())
    assert libraries.get("shim").get_slots(), "tried again at its next use"
