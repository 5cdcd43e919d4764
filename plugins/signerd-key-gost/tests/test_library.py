import subprocess
import sys
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd.verification.streebog import Streebog
from signerd_key_gost.library import library

WITHOUT = """
import sys
from signerd.errors import Fault
from signerd_key_gost.backend import GostBackend
made = GostBackend({"directory": sys.argv[1]})
for call in (lambda: made.describe("gost:a"), lambda: made.sign("gost:a", b""), lambda: made.generate("gost:a", "")):
    try:
        call()
    except Fault as fault:
        assert (fault.code, fault.reason) == ("key.backend_unavailable", "engine_missing"), fault
        assert "libengine-gost-openssl" in str(fault), fault
        assert "libengine" not in fault.public
    else:
        sys.exit("answered")
"""
"""What a backend does in a process without the engine."""


def run(program: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("gost-engine")
def test_without_the_engine_every_call_says_what_to_install(tmp_path: Path) -> None:
    run(WITHOUT, str(tmp_path), OPENSSL_ENGINES=str(tmp_path))


def test_without_the_library_every_call_says_what_to_install(tmp_path: Path) -> None:
    absent = "import signerd_key_gost.library as it; it._NAME = 'libcrypto-absent.so.3'\n"
    run(absent + WITHOUT, str(tmp_path))


@pytest.mark.needs("gost-engine")
def test_a_library_without_engines_is_none() -> None:
    # libm stands for an OpenSSL 4: it loads, and has no such functions.
    absent = "import signerd_key_gost.library as it; it._NAME = 'libm.so.6'\n"
    run(absent + WITHOUT, "/nowhere")


@pytest.mark.needs("gost-engine")
def test_its_hash_is_ours() -> None:
    for bits in (256, 512):
        for length in (0, 1, 64, 1000):
            assert library().hash(bits, bytes(length)) == Streebog(bits // 8, bytes(length)).digest()


@pytest.mark.needs("gost-engine")
def test_a_failure_says_why_to_the_operator_and_leaves_nothing_behind() -> None:
    with pytest.raises(SignerdError) as caught:
        library().call("EVP_PKEY_keygen_init", None)
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "engine_failed")
    assert "EVP_PKEY_keygen_init" in str(caught.value)
    with pytest.raises(SignerdError) as caught:
        library().call("ENGINE_get_digest", library().engine, 0)
    assert "keygen" not in str(caught.value)
    with pytest.raises(SignerdError) as caught:
        library().identifier(b"no_such_object_at_all")
    assert caught.value.reason == "engine_missing"


@pytest.mark.needs("gost-engine")
def test_python_s_own_tls_and_hashes_go_on_as_before() -> None:
    program = """
import hashlib, ssl
before = [c["name"] for c in ssl.create_default_context().get_ciphers()]
from signerd_key_gost.library import library
library()
assert [c["name"] for c in ssl.create_default_context().get_ciphers()] == before
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
"""
    run(program)


SANDBOXED = """
import ctypes, sys
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: Linux 6.3
    sys.exit("no such prctl")
from signerd_key_gost.backend import GostBackend
made = GostBackend({"directory": sys.argv[1]})
made.generate("gost:a", "")
assert len(made.sign("gost:a", b"m").signature) == 64
"""


@pytest.mark.needs("gost-engine")
def test_it_works_where_no_memory_may_become_executable(tmp_path: Path) -> None:
    """As systemd's MemoryDenyWriteExecute= has it for the worker's unit."""
    done = subprocess.run(
        [sys.executable, "-c", SANDBOXED, str(tmp_path / "keys")], capture_output=True, text=True, check=False
    )
    if "no such prctl" in done.stderr:
        pytest.skip("this kernel cannot be asked for it")
    assert done.returncode == 0, done.stderr
