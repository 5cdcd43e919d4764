import base64
import hashlib
import importlib
import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.distributions import install
from signerd.attestation.canonical import canonical_json
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP
from signerd.host.certificate import MOST_BYTES, PREDICATE_TYPE, check_certificate, judged_files
from signerd.host.distribution import Distribution, LoadError, find_entry, verify
from signerd.host.load import PluginEntry, load_key_backend, worker_entry
from signerd.verification.keys import PublicKey

_numbers = itertools.count()
CERTIFIER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
BACKEND = """
from signerd.contracts import hookimpl
class K:
    capabilities = ()
    def describe(self, key): return None
    def sign(self, key, message): return None
@hookimpl
def signerd_key_backends(settings): return K()
"""


def public(private: Ed25519PrivateKey) -> PublicKey:
    return PublicKey.from_spki(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class Certified:
    """A distribution that is installed, a certifier, and the parts of a certificate that fits."""

    def __init__(self, root: Path) -> None:
        self.number = next(_numbers)
        self.name, self.package = f"certified-{self.number}", f"signerd_certified_{self.number}"
        self.root, self.site = root, root / "site"
        self.site.mkdir(mode=0o755)
        self.install()
        self.certifier = self.key("certifier.pub", CERTIFIER)
        self.path = root / "certificate.json"
        self.subjects = [Subject(name, {"sha256": digest}) for name, digest in judged_files(self.dist).items()]
        self.predicate: dict[str, Any] = {
            "kind": "distribution",
            "contract": "worker-protocol",
            "kit": "signerd-conformance/0.1.0",
            "cases": [{"name": "hello", "result": "ok"}, {"name": "generate", "result": "skip", "optional": True}],
            "counts": {"ok": 1, "skip": 1},
            "host": {"os": "Linux 6.1", "arch": "x86_64", "python": "3.12.1"},
            "started": "2026-11-03T10:00:00Z",
            "finished": "2026-11-03T10:00:09Z",
            "distribution": {
                "name": self.name,
                "version": "1.2.3",
                "record": self.dist.record_sha256,
                "group": KEY_BACKENDS_GROUP,
                "entry_point": self.name,
            },
        }

    def install(self, files: Mapping[str, str] = {}, version: str = "1.2.3", more: str = "") -> None:
        own = {f"{self.package}/__init__.py": "", f"{self.package}/plugin.py": BACKEND + more, **files}
        entries = {KEY_BACKENDS_GROUP: {self.name: f"{self.package}.plugin"}}
        install(self.site, self.name, own, entries, version)
        importlib.invalidate_caches()

    @property
    def dist(self) -> Distribution:
        return verify(find_entry(KEY_BACKENDS_GROUP, self.name), development=False)

    def key(self, name: str, private: Ed25519PrivateKey) -> str:
        file = self.root / name
        file.write_text(public(private).pem)
        file.chmod(0o644)
        return str(file)

    def write(
        self,
        *signers: Ed25519PrivateKey,
        payload_type: str = PAYLOAD_TYPE,
        predicate_type: str = PREDICATE_TYPE,
        written_type: str | None = None,
    ) -> bytes:
        statement = build_statement(self.subjects, predicate_type, canonical_json(self.predicate))
        signatures = [
            Signature(signer.sign(pae(payload_type, statement)), public(signer).keyid)
            for signer in signers or (CERTIFIER,)
        ]
        envelope = encode_envelope(encode_base64(statement), written_type or payload_type, signatures)
        self.path.write_bytes(envelope)
        return envelope

    def check(self, *certifiers: str) -> Any:
        return check_certificate(
            self.name, str(self.path), certifiers or (self.certifier,), KEY_BACKENDS_GROUP, self.dist
        )

    def refused(self, *certifiers: str) -> str:
        with pytest.raises(LoadError) as caught:
            self.check(*certifiers)
        assert caught.value.plugin == self.name
        return str(caught.value)


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certified:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Certified(tmp_path)


def test_one_that_fits_names_certifier_kit_day_and_its_own_digest(certified: Certified) -> None:
    text = certified.write()
    held = certified.check()
    assert held.certifier == public(CERTIFIER).keyid
    assert (held.kit, held.finished) == ("signerd-conformance/0.1.0", "2026-11-03T10:00:09Z")
    assert held.sha256 == hashlib.sha256(text).hexdigest()
    assert str(held) == f"{held.certifier} 2026-11-03"


def test_any_of_several_certifiers_may_have_signed(certified: Certified) -> None:
    certified.write()
    stranger = certified.key("other.pub", STRANGER)
    assert certified.check(stranger, certified.certifier).certifier == public(CERTIFIER).keyid


def test_none_is_no_certificate_and_asks_for_no_file(certified: Certified) -> None:
    assert check_certificate(certified.name, "none", ("/absent",), KEY_BACKENDS_GROUP, certified.dist) is None


def test_what_only_the_installer_wrote_is_not_judged(certified: Certified) -> None:
    names = set(judged_files(certified.dist))
    info = f"certified_{certified.number}-1.2.3.dist-info"
    assert names == {
        f"{certified.package}/__init__.py", f"{certified.package}/plugin.py",
        f"{info}/METADATA", f"{info}/entry_points.txt",
    }  # fmt: skip
    certified.write()
    certified.install({f"{info}/direct_url.json": '{"url": "file:///wheels"}', f"{info}/REQUESTED": ""})
    certified.check()
    certified.install({f"{certified.package}/INSTALLER": ""})
    assert "does not know of installed files" in certified.refused()


def test_a_backend_with_one_is_found_and_loaded(certified: Certified) -> None:
    certified.write()
    given = {"certificate": str(certified.path), "certifiers": (certified.certifier,)}
    entry = worker_entry(KEY_BACKENDS_GROUP, certified.name, **given)  # type: ignore[arg-type]
    assert entry.certificate == certified.check()
    assert load_key_backend(certified.name, PluginEntry(**given)).capabilities == ()  # type: ignore[arg-type]


def test_a_backend_whose_certificate_is_no_longer_true_is_not_imported(certified: Certified) -> None:
    certified.write()
    certified.install(more="raise SystemExit('imported')\n")
    given = {"certificate": str(certified.path), "certifiers": (certified.certifier,)}
    for load in (
        lambda: worker_entry(KEY_BACKENDS_GROUP, certified.name, **given),  # type: ignore[arg-type]
        lambda: load_key_backend(certified.name, PluginEntry(**given)),  # type: ignore[arg-type]
    ):
        with pytest.raises(LoadError, match=r"files are not those that were certified: .*plugin\.py"):
            load()


def test_another_version(certified: Certified) -> None:
    certified.predicate["distribution"]["version"] = "1.2.2"
    certified.write()
    assert "it certifies the version '1.2.2', installed is '1.2.3'" in certified.refused()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "somebody-else", "the distribution 'somebody-else'"),
        ("group", PLUGINS_GROUP, "the entry point"),
        ("entry_point", "other", "the entry point"),
    ],
)
def test_another_distribution_or_entry_point(certified: Certified, field: str, value: str, said: str) -> None:
    certified.predicate["distribution"][field] = value
    certified.write()
    assert said in certified.refused()


def test_a_file_that_was_altered_and_listed_anew(certified: Certified) -> None:
    certified.write()
    certified.install(more="# one line\n")
    assert f"files are not those that were certified: {certified.package}/plugin.py" in certified.refused()


def test_a_module_that_was_dropped_in(certified: Certified) -> None:
    certified.write()
    (certified.site / certified.package / "more.py").write_text("")
    assert "a module lies in the package that RECORD does not list" in certified.refused()
    certified.install({f"{certified.package}/more.py": ""})
    assert f"does not know of installed files: {certified.package}/more.py" in certified.refused()


def test_a_file_that_is_missing(certified: Certified) -> None:
    certified.subjects.append(Subject(f"{certified.package}/gone.py", {"sha256": "0" * 64}))
    certified.write()
    assert f"it names files that are not installed: {certified.package}/gone.py" in certified.refused()


def test_a_file_named_twice_with_two_digests(certified: Certified) -> None:
    certified.subjects.append(Subject(f"{certified.package}/plugin.py", {"sha256": "0" * 64}))
    certified.write()
    assert "it names a file twice" in certified.refused()


def test_a_subject_without_sha256_speaks_of_no_file(certified: Certified) -> None:
    first = certified.subjects[0]
    certified.subjects[0] = Subject(first.name, {"sha512": "0" * 128})
    certified.write()
    assert "files are not those that were certified" in certified.refused()


def test_a_key_that_is_no_certifiers(certified: Certified) -> None:
    certified.write(STRANGER)
    assert "it is signed by no key of [conformance] certifiers" in certified.refused()


def test_a_keyid_that_claims_the_certifier(certified: Certified) -> None:
    text = certified.write(STRANGER).replace(public(STRANGER).keyid.encode(), public(CERTIFIER).keyid.encode())
    certified.path.write_bytes(text)
    assert "it is signed by no key of [conformance] certifiers" in certified.refused()


def test_two_signatures(certified: Certified) -> None:
    certified.write(CERTIFIER, STRANGER)
    assert "it has 2 signatures where one is expected" in certified.refused()


def test_another_payload_type_signed_or_swapped(certified: Certified) -> None:
    certified.write(payload_type="application/json")
    assert "payload type" in certified.refused()
    certified.write(payload_type="application/json", written_type=PAYLOAD_TYPE)
    assert "it is signed by no key" in certified.refused()


def test_another_predicate_type(certified: Certified) -> None:
    certified.write(predicate_type="https://example.org/v1")
    assert "it is no Statement v1 of the predicate type" in certified.refused()


def test_a_failed_case_that_was_edited_to_pass(certified: Certified) -> None:
    certified.predicate["cases"][0]["result"] = "FAIL"
    text = json.loads(certified.write())
    assert "a run that was not passed: these cases failed: hello" in certified.refused()
    payload = base64.b64decode(text["payload"]).replace(b'"FAIL"', b'"ok"')
    text["payload"] = base64.b64encode(payload).decode()
    certified.path.write_text(json.dumps(text))
    assert "it is signed by no key" in certified.refused()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cases": [{"name": "sign", "result": "skip"}], "counts": {"skip": 1}}, "not optional and were skipped: sign"),
        ({"cases": [], "counts": {}}, "no case was passed"),
        ({"counts": {"ok": 2, "skip": 0}}, "its counts are not those of its cases"),
        ({"kind": "binary", "distribution": None}, "it certifies a program, not a distribution"),
        ({"distribution": None}, "it certifies a program, not a distribution"),
        ({"kind": "other"}, "its predicate is not that of"),
        ({"cases": [{"name": "sign", "result": "passed"}]}, "its predicate is not that of"),
    ],
)
def test_a_predicate_that_says_something_else(certified: Certified, change: dict[str, Any], said: str) -> None:
    certified.predicate.update(change)
    certified.write()
    assert said in certified.refused()


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b"[" * 5000, b'{"payload":"","payloadType":"","signatures":[]}'])
def test_what_is_no_envelope(certified: Certified, text: bytes) -> None:
    certified.path.write_bytes(text)
    assert "it is no certificate" in certified.refused()


def test_a_symlink_a_fifo_a_folder_and_nothing(certified: Certified) -> None:
    certified.write()
    real = certified.path.rename(certified.root / "real.json")
    certified.path.symlink_to(real)
    assert "it cannot be read" in certified.refused()
    certified.path.unlink()
    os.mkfifo(certified.path)
    assert "a regular file is expected" in certified.refused()
    certified.path.unlink()
    certified.path.mkdir()
    certified.refused()
    certified.path.rmdir()
    assert "it cannot be read (No such file or directory)" in certified.refused()


def test_one_that_is_too_long(certified: Certified) -> None:
    certified.path.write_bytes(certified.write() + b" " * MOST_BYTES)
    assert f"at most {MOST_BYTES} bytes are expected" in certified.refused()


def test_a_certifiers_key_that_others_can_replace_or_that_is_none(certified: Certified) -> None:
    certified.write()
    Path(certified.certifier).chmod(0o666)
    assert "nobody else's to write" in certified.refused()
    Path(certified.certifier).chmod(0o644)
    Path(certified.certifier).write_text("no key")
    assert "a certifier's public key in PEM is expected" in certified.refused()
    assert "it cannot be read" in certified.refused(str(certified.root / "absent.pub"))


def test_an_editable_installation_has_no_certificate(certified: Certified) -> None:
    certified.write()
    dist = Distribution(certified.name, "1.2.3", "", f"{certified.package}.plugin", {})
    with pytest.raises(LoadError, match="an editable installation"):
        check_certificate(certified.name, str(certified.path), (certified.certifier,), KEY_BACKENDS_GROUP, dist)
