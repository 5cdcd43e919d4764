"""A daemon of three tenants whose keys have had every kind of life, and callers that belong to one tenant each.

Root calls as users of the tenants, all at once; anybody else is one user, whom a reload moves from tenant to tenant.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgpack  # type: ignore[import-untyped]  # it ships no types

from fakes.life import Keys
from running.client import SBOM, SBOM_TYPE, Client
from running.daemon import RELEASE, Running
from signerd.sealer.key_spec import KeySpec
from signerd.wire.ring import RingEntry

__all__ = ["LIVES", "TENANTS", "WAYS", "Caller", "Tenants", "bare", "configured", "lived", "order", "tenants"]

TENANTS: Final = ("aardvark", "bumblebee", "cormorant")
"""No text of signerd has these words: where one stands, it is the tenant, its plan, its backend or its key."""
LIVES: Final = (
    "active", "granted", "planned", "suspended", "revoked", "retired", "rotated", "replaced", "expired", "pending",
)  # fmt: skip
"""What has become of a tenant's keys. ``rotated`` has an old version that still finishes what was decided with it, the
old version of ``replaced`` has retired; ``granted`` signs for the tenant's plan alone, ``planned`` for another one."""
FIRST_UID: Final = 42_001
DAY_MS: Final = 86_400_000

Way = Literal["users", "reload"]
WAYS: Final[Sequence[Way]] = ("users", "reload") if os.geteuid() == 0 else ("reload",)

_RELAY: Final = r"""
import os, socket, sys, threading

def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()

os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
listener = socket.socket(fileno=0)
while True:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    far.connect("sign.sock")
    for ends in ((near, far), (far, near)):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""


class Caller(Client):
    """A connection of one tenant's. ``heard`` is all that it was told since its hello."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.heard: list[bytes] = []

    def take(self) -> dict[str, Any] | None:
        message = super().take()
        if message is not None:
            self.heard.append(msgpack.packb(message))
        return message


@dataclass(slots=True)
class Tenants:
    """The daemon, every version of every key, and the records that each tenant has."""

    daemon: Running
    versions: tuple[RingEntry, ...]
    way: Way
    doors: dict[str, Path]
    records: dict[str, list[str]] = field(default_factory=dict)

    @contextlib.contextmanager
    def caller(self, tenant: str) -> Iterator[Caller]:
        """A connection of ``tenant``, which has greeted; what it heard must hold nothing of another tenant's."""
        if self.way == "reload":
            self._move(tenant)
        with Caller(self.doors.get(tenant, self.daemon.socket)) as caller:
            assert caller.greet() is not None
            yield caller
        secrets = self.secrets(tenant)
        for said in caller.heard:
            flat = said.replace(b"\n", b"")  # as PEM breaks its lines
            assert not [one for one in secrets if one in said or one in flat], said

    def _move(self, tenant: str) -> None:
        configured(self.daemon.base, {os.geteuid(): tenant})
        with Client(self.daemon.socket.with_name("admin.sock")) as admin:
            admin.greet()
            admin.result("admin.reload", {})

    def secrets(self, tenant: str) -> list[bytes]:
        """What an answer to ``tenant`` must not hold: bytes that only another tenant's names, keys and records have."""
        found = []
        for other in TENANTS:
            if other != tenant:
                found += [other.encode(), *[one.encode() for one in self.records.get(other, ())]]
        for entry in self.versions:
            if entry.tenant != tenant:
                digest = bytes.fromhex(entry.keyid.removeprefix("sha256:"))
                forms = (digest, entry.spki[-64:])
                found += [*forms, *[form.hex().encode() for form in forms]]
                found += [base64.b64encode(digest), base64.b64encode(entry.spki)[-80:]]
        return found


def lived(state: Path) -> tuple[RingEntry, ...]:
    """Make a state directory in which each key of each tenant has had its life; every version of all."""
    state.mkdir(mode=0o700)
    specs = [KeySpec(f"file:{tenant}-{life}", tenant, "soft", "file") for tenant in TENANTS for life in LIVES]
    keys = Keys(state, *specs)
    now = int(time.time() * 1000)
    for tenant in TENANTS:
        for life in LIVES:
            keys.clock.ms = now + {"expired": -366, "pending": 1}.get(life, 0) * DAY_MS - 60_000
            keys.done("generate", f"file:{tenant}-{life}")
        keys.clock.ms = now - 60_000
        keys.done("suspend", f"file:{tenant}-suspended")
        keys.done("revoke", f"file:{tenant}-revoked", cause="compromised")
        keys.done("retire", f"file:{tenant}-retired")
        keys.done("rotate", f"file:{tenant}-rotated", overlap_s=86_400)
        keys.done("rotate", f"file:{tenant}-replaced")
    versions = keys.life.versions()
    keys.close()
    return versions


def configured(base: Path, callers: dict[int, str]) -> Path:
    """Write the configuration in which a uid belongs to a tenant; its path."""
    text = f"""
[sockets.sign]
mode = 0o666
[sockets.admin]
[plugins.auth-peercred]
certificate = "none"
[plugins.auth-peercred.callers]
{"".join(f'{uid} = {{ tenant = "{tenant}" }}{chr(10)}' for uid, tenant in callers.items())}
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[plugins.predicates-intoto]
certificate = "none"
[plugins.predicates-stella]
certificate = "none"
"""
    for tenant in TENANTS:
        references = [f"file:{tenant}-{life}" for life in LIVES]
        text += f"""
[plugins.entitlement-file.plans.{tenant}-plan]
concurrency = 64
size = 1048576
daily = 100000
[plugins.entitlement-file.tenants.{tenant}]
plan = "{tenant}-plan"
[backends.{tenant}-soft]
certificate = "none"
scheme = "file"
settings = {{ directory = "{base}/state/keys" }}
[tenants.{tenant}]
keys = {references}
default_key = "file:{tenant}-active"
"""
        plans = {"granted": f'plans = ["{tenant}-plan"]', "planned": 'plans = ["platinum"]'}
        for life, reference in zip(LIVES, references, strict=True):
            text += f'[keys."{reference}"]\nbackend = "{tenant}-soft"\ntenant = "{tenant}"\n{plans.get(life, "")}\n'
    file = base / "signerd.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def order(tenant: str, *keys: str) -> dict[str, Any]:
    """What ``tenant`` asks to have signed, with these keys; the subject is its own."""
    return {
        "subject": [{"name": f"{tenant}.tar", "digest": {"sha256": tenant.encode().hex().rjust(64, "0")}}],
        "predicate_type": SBOM_TYPE,
        "predicate": SBOM,
        "scanner_image_digest": RELEASE,
        **({"options": {"keys": list(keys)}} if keys else {}),
    }


def bare(tenant: str, *keys: str) -> dict[str, Any]:
    """The same for a document that is signed as it is: a replay manifest."""
    none = "sha256:" + "0" * 64
    scan = {"id": tenant, "time": "2024-01-01T00:00:00Z", "mode": "record", "scannerVersion": "2024.1"}
    layers = [{"layerDigest": none, "merkleRoot": "00", "leafCount": 3}]
    feeds = [{"name": "nvd", "snapshotHash": "00", "snapshotTime": "2024-01-01T00:00:00Z"}]
    manifest = {
        "schemaVersion": "1.0",
        "scan": {**scan, "cryptoProfile": "FIPS-140-3+GOST-R-34-10-2012"},
        "subject": {"ociDigest": none, "layers": layers},
        "inputs": {"feeds": feeds},
    }
    return {
        "payload_type": "application/vnd.stellaops.replay+json",
        "payload": json.dumps(manifest).encode(),
        "scanner_image_digest": RELEASE,
        **({"options": {"keys": list(keys)}} if keys else {}),
    }


@contextlib.contextmanager
def tenants(base: Path, way: Way) -> Iterator[Tenants]:
    """Run the daemon; each tenant has had something signed and something refused."""
    versions = lived(base / "state")
    uids = {FIRST_UID + place: tenant for place, tenant in enumerate(TENANTS)}
    file = configured(base, uids if way == "users" else {os.geteuid(): TENANTS[0]})
    (base / "run").mkdir(mode=0o755)
    with contextlib.ExitStack() as stack:
        daemon = Running(base, config=file.read_text())
        stack.callback(daemon.close)
        daemon.wait_ready()
        made = Tenants(daemon, versions, way, {})
        if way == "users":
            for uid, tenant in uids.items():
                made.doors[tenant] = stack.enter_context(_door(base, uid, tenant))
        for tenant in TENANTS:
            with made.caller(tenant) as caller:
                results = [caller.result("sign.dsse", order(tenant)) for _ in range(3)]
                caller.error("sign.dsse", order(tenant, f"file:{tenant}-revoked"))
            made.records[tenant] = [result["receipt"]["audit_id"] for result in results]
            made.records[tenant] += [order(tenant)["subject"][0]["digest"]["sha256"]]
            made.records[tenant] += [result["statement_sha256"] for result in results]
        yield made


@contextlib.contextmanager
def _door(base: Path, uid: int, tenant: str) -> Iterator[Path]:
    """Run a process of ``uid`` that connects to the daemon for whoever connects to the path."""
    path = base / f"{tenant}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-c", _RELAY, str(base / "run"), str(uid)]
        relay = subprocess.Popen(command, stdin=listener.fileno())
    try:
        yield path
    finally:
        relay.kill()
        relay.wait(10)
