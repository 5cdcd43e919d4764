"""GOST keys of a vendor's module and tool, of which stand-ins do the work, behind the real daemon: an SBOM in an
envelope that OpenSSL's engine verifies, and what happens when the vendor's part is away."""

import base64
import dataclasses
import json
import os
import re
import signal
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import UNSET

from fakes.gost_tokens import GostToken
from fakes.links import Peer
from outside.parts import ROOT
from running.callers import request
from running.configured import key_workers, records, until
from running.daemon import RELEASE, Running, running
from running.shell import sign_real_sbom
from signerd.attestation.dsse import pae
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest
from signerd_key_cryptopro.settings import MODULE as MODULE_FILE
from signerd_key_cryptopro.settings import understand

pytestmark = pytest.mark.needs("gost-engine", "gcc")

MODULE = "cryptopro:token=gost;object=release"
OTHER = "cryptopro:token=gost;object=other"
CONTAINER = "cryptopro:container=release"
SPARE = "gost:spare"
FOREIGN = "file:p256"


def configuration(token: GostToken, keys: Sequence[str], fallback: str | None = None, **tool: object) -> str:
    """A tenant of profile gost with ``keys``, the first of which may have a fallback."""
    settings = token.settings(tool=token.containers("release", timeout_s=5, **tool))
    tables = []
    for key in keys:
        backend = {"cryptopro": "csp", "gost": "software", "file": "files"}[key.partition(":")[0]]
        tables.append(f'[keys.{json.dumps(key)}]\nbackend = "{backend}"\ntenant = "local"')
        if fallback and key == keys[0]:
            tables.append(f"fallback = {json.dumps(fallback)}")
    return "\n".join(
        [
            "[sockets.sign]",
            "[limits]\nworker_backoff_first_s = 0.05",
            *[
                f'[plugins.{name}]\ncertificate = "none"'
                for name in ("auth-peercred", "entitlement-file", "predicates-intoto", "release-allowlist")
            ],
            f'releases = [{{ digest = "{RELEASE}" }}]',
            f'[backends.csp]\ncertificate = "none"\nscheme = "cryptopro"\nkind = "hsm"\nsettings = {inline(settings)}',
            *other_backends(token, keys),
            f'[tenants.local]\nprofile = "gost"\ndefault_key = {json.dumps(keys[0])}\nkeys = {json.dumps(list(keys))}',
            *tables,
        ]
    )


def other_backends(token: GostToken, keys: Sequence[str]) -> list[str]:
    """Backends of software keys, in folders beside the token's."""
    made = []
    for key, scheme, name in ((SPARE, "gost", "software"), (FOREIGN, "file", "files")):
        if key in keys:
            folder = token.base / name
            folder.mkdir(mode=0o700)
            target = folder / f"{key.partition(':')[2]}.pem"
            if scheme == "gost":
                token.openssl.new_key("TC26-256-A").rename(target)
            else:
                private = ec.generate_private_key(ec.SECP256R1())
                target.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            target.chmod(0o600)
            settings = inline({"directory": str(folder)})
            made.append(f'[backends.{name}]\ncertificate = "none"\nscheme = "{scheme}"\nsettings = {settings}')
    return made


def inline(value: Any) -> str:
    """TOML of a table in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {inline(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def vendor(gost_token: GostToken) -> GostToken:
    gost_token.environment.update(STANDIN_REVERSED="1", STANDIN_WANTS_OID="1")
    gost_token.add("release")
    return gost_token


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = tmp_path / "daemon"
    made.mkdir()
    return made


def asked(number: int = 0, *keys: str) -> SignRequest:
    return dataclasses.replace(request(number), options=Options(profile="dsse", keys=keys or UNSET))


def envelope_of(data: bytes) -> tuple[bytes, bytes]:
    """The one signature of an envelope, and what it is over."""
    envelope = json.loads(data)
    (signature,) = envelope["signatures"]
    return base64.b64decode(signature["sig"]), pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))


@pytest.mark.parametrize("key", [MODULE, CONTAINER])
def test_a_real_sbom_signed_by_either_way_is_accepted_by_openssl_with_the_engine(
    vendor: GostToken, base: Path, tmp_path: Path, key: str
) -> None:
    with running(base, config=configuration(vendor, [key])) as daemon:
        sign_real_sbom(daemon, tmp_path, "--profile", "dsse", "--envelope", "e.json")
    signature, message = envelope_of((tmp_path / "e.json").read_bytes())
    assert b'"bomFormat":"CycloneDX"' in message
    assert vendor.openssl.verifies((tmp_path / "key.pub").read_text(), 256, signature, message)
    assert not vendor.openssl.verifies((tmp_path / "key.pub").read_text(), 256, signature, message + b" ")
    assert not vendor.openssl.verifies((tmp_path / "key.pub").read_text(), 256, signature[::-1], message)
    assert (tmp_path / "key.pub").read_bytes() == vendor.public("release").read_bytes()
    assert bool(vendor.calls()) is (key == CONTAINER)
    assert all("-password" not in call and "-pin" not in call for call in vendor.calls())


def fault_of(daemon: Running, number: int, *keys: str) -> str:
    with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
        signer.sign_dsse(asked(number, *keys))
    return f"{caught.value.code} {caught.value.reason}"


def test_no_key_takes_the_place_of_another_unless_the_configuration_says_so(vendor: GostToken, base: Path) -> None:
    vendor.add("other")
    with running(base, config=configuration(vendor, [CONTAINER, OTHER])) as daemon:
        with Signer.connect(daemon.socket) as signer:
            assert signer.sign_dsse(asked(0)).result.receipt.decision.degraded == ()
        vendor.go_wrong("0x80090022")
        assert fault_of(daemon, 1) == "key.backend_unavailable pin_required"
        vendor.go_wrong("hang")
        assert fault_of(daemon, 2) == "key.backend_unavailable tool_timeout"
        vendor.go_wrong("0x80090016")
        assert fault_of(daemon, 3) == "key.not_found container_missing"
        with Signer.connect(daemon.socket) as signer:
            assert signer.sign_dsse(asked(4, OTHER)).result.receipt.decision.degraded == ()


@pytest.mark.parametrize("gone", ["module", "tool"])
def test_software_signs_in_place_of_the_vendor_where_configured_and_receipt_and_record_say_so(
    vendor: GostToken, base: Path, gone: str
) -> None:
    key = MODULE if gone == "module" else CONTAINER
    with running(base, config=configuration(vendor, [key, SPARE], fallback=SPARE)) as daemon:
        with Signer.connect(daemon.socket) as signer:
            before = signer.sign_dsse(asked(0)).result.receipt.decision
        assert (before.degraded, [each.key for each in before.keys]) == ((), [key])
        if gone == "module":
            vendor.module.unlink()
            os.kill(key_workers(daemon)[0], signal.SIGKILL)
        else:
            vendor.tool.unlink()
        first = len(daemon.leaves())
        with Signer.connect(daemon.socket) as signer:
            signed = signer.sign_dsse(asked(1))
        decision = signed.result.receipt.decision
        assert (decision.degraded, [each.key for each in decision.keys]) == (("key_fallback",), [SPARE])
        decided = [
            json.loads(bytes(leaf["leaf"]))["decision"]  # type: ignore[call-overload]  # a blob
            for leaf in daemon.leaves()[first:]
            if leaf["kind"] == "decided"
        ]
        assert [(each["keys"][0]["key"], each["degraded"]) for each in decided][-1] == (SPARE, ["key_fallback"])
        audit_id = signed.result.receipt.audit_id
        until(lambda: records(daemon).get(audit_id) == ["signed"])
        signature, message = envelope_of(signed.envelope or b"")
        spare = vendor.openssl.public(vendor.base / "software" / "spare.pem").decode()
        assert vendor.openssl.verifies(spare, 256, signature, message)


def test_a_fallback_of_another_profile_signs_nothing(vendor: GostToken, base: Path) -> None:
    with running(base, config=configuration(vendor, [CONTAINER, FOREIGN], fallback=FOREIGN)) as daemon:
        with Signer.connect(daemon.socket) as signer:
            assert signer.sign_dsse(asked(0)).envelope
        vendor.tool.unlink()
        assert fault_of(daemon, 1) == "key.backend_unavailable tool_missing"


def test_a_configuration_that_would_make_a_pin_an_argument_signs_nothing(vendor: GostToken, base: Path) -> None:
    config = configuration(vendor, [CONTAINER, MODULE]).replace('"public_key"', '"pin_file" = "/x", "public_key"')
    with running(base, config=config) as daemon:
        for number, key in enumerate((CONTAINER, MODULE)):
            assert fault_of(daemon, number, key) == "key.backend_unavailable pin_in_argument"
        assert "tool.containers.release: the tool takes a PIN as an argument alone" in daemon.said
    assert vendor.calls() == []


def test_a_wrong_pin_is_presented_once_whatever_the_restarts(vendor: GostToken, base: Path) -> None:
    vendor.set_pin_file("0000")
    for number in range(3):
        with running(base, config=configuration(vendor, [MODULE])) as daemon:
            reason = "pin_latched" if number else "pin_incorrect"
            assert fault_of(daemon, number) == f"key.backend_fault {reason}"
            assert "0000" not in daemon.said
    assert vendor.refused_pins() == 1


def test_a_tool_dies_with_its_worker_and_the_next_worker_clears_up(vendor: GostToken) -> None:
    tool = vendor.containers("release", timeout_s=60)
    settings = {"scheme": "cryptopro", "name": "csp", "settings": vendor.settings(tool=tool)}
    vendor.go_wrong("child")
    peer = Peer("signerd.worker.key", settings)
    peer.hello()
    peer.link.settimeout(0.2)
    with pytest.raises(TimeoutError):
        peer.ask("describe", {"key": CONTAINER})
    until(lambda: (vendor.keys / "child").exists() and (vendor.keys / "child").read_text() != "")
    child = int((vendor.keys / "child").read_text())
    peer.process.kill()
    peer.status()
    until(lambda: not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text())
    state = vendor.base / "state"
    assert len(list(state.glob("tool-*/message"))) == 1
    vendor.go_wrong("")
    after = Peer("signerd.worker.key", settings)
    after.hello()
    assert after.ask("describe", {"key": CONTAINER})["result"]["algorithm"] == "GOST3410-2012-256"
    assert list(state.iterdir()) == []
    for each in (peer, after):
        each.close()


def test_the_page_says_what_the_settings_are_and_which_reasons_there_are() -> None:
    page = (ROOT / "docs" / "key-cryptopro.md").read_text()
    tables = [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    settings = [table["backends"]["csp"]["settings"] for table in tables if "backends" in table]
    first, second = [understand(each) for each in settings]
    assert first.module["modules"] == {"cryptopro": MODULE_FILE}
    assert second.tool is not None
    assert second.tool.containers["release"].name == "\\\\.\\HDIMAGE\\release"
    (command,) = re.findall(r"^/opt/cprocsp/bin/amd64/csptest (.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert " ".join(command.split()) == (
        r"-keyset -sign GOST12_256 -container '\\.\HDIMAGE\release' -keytype exchange"
        " -in STATE/tool-…/message -out STATE/tool-…/signature -silent"
    )
    assert f"| `timeout_s` | {second.tool.timeout_s:g} |" in page
    packages = [ROOT / "plugins" / f"signerd-key-{name}" for name in ("cryptopro", "pkcs11")]
    sources = "".join(path.read_text() for package in packages for path in package.glob("signerd_key_*/*.py"))
    listed = page[page.index("## Refusals") : page.index("## What this was run with")]
    reasons = re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| ([^|]*) \| `key\.", listed, re.MULTILINE)))
    assert len(reasons) > 20
    # Of what a file is held to, the first word is the kind of file.
    assert not [each for each in reasons if f'"{each}"' not in sources and f'{{kind}}_{each[5:]}"' not in sources]
