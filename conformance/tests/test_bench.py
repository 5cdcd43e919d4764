import hashlib
from pathlib import Path

import pytest

from fakes.flawed_bench import flawed
from signerd.wire.messages import Error
from signerd.wire.worker_calls import SignResultParams
from signerd_conformance.bench import verify
from signerd_conformance.worker import Violation


def test_the_worker_is_shared_until_it_is_dropped(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path)
    first = bench.worker()
    assert bench.worker() is first
    with bench.another() as other:
        assert other.pid != first.pid
    bench.drop()
    assert bench.worker() is not first
    bench.drop()


def test_a_key_is_made_where_it_is_not_there_and_may_be(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path, "x:new")
    with pytest.raises(Violation, match=r"x:new cannot be described: key\.not_found \(no_such_key\)"):
        bench.key("x:new")
    bench.algorithm = "Ed25519"
    made = bench.key("x:new")
    assert bench.made["x:new"].keyid == made.public.keyid
    assert bench.known("x:new") is made
    assert bench.known("x:other") is None
    bench.drop()


def test_a_key_by_digest_is_asked_with_the_digest(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path, "x:given", "x:given-es256")
    whole, digest = bench.key("x:given"), bench.key("x:given-es256")
    assert whole.params(b"m") == {"key": "x:given", "message": b"m"}
    assert digest.params(b"m") == {"key": "x:given-es256", "message": hashlib.sha256(b"m").digest()}
    assert isinstance(bench.worker().ask("describe", {"key": bench.absent()}), Error)
    assert bench.absent().startswith("x:")
    assert bench.absent() != bench.absent()
    bench.drop()


def test_a_signature_is_verified_with_its_keyid(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path)
    key = bench.key("x:given")
    signed = bench.worker().result("sign", key.params(b"m"), SignResultParams)
    verify(key, b"m", signed)
    with pytest.raises(Violation, match="signature_invalid"):
        verify(key, b"n", signed)
    with pytest.raises(Violation, match="the signature names sha256:0"):
        verify(key, b"m", SignResultParams(signed.signature, "sha256:0"))
    bench.drop()
