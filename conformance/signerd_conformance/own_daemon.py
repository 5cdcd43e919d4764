"""A daemon of the caller's own, for one signature: ``signerd serve`` on a state that ends with it.

Its one key is keyless, and its answers wait for every log and stamp. The authorities and logs that it believes are
those of the trusted root; the one issuer whose tokens it takes is that of the token at hand, whose holder has started
it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import Certificate

from signerd.errors import Fault, Refusal
from signerd.verification.trusted_root import Log
from signerd_conformance.signing_config import Services

__all__ = ["KEY", "own_daemon"]

KEY: Final = "fulcio:own"
"""The reference of its one key."""
START_S: Final = 30.0
END_S: Final = 10.0
_PLUGINS: Final = ("auth-peercred", "entitlement-file", "release-allowlist", "predicates-intoto")
_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None).prctl


@contextlib.contextmanager
def own_daemon(services: Services, issuer: str) -> Iterator[Path]:
    """Start it, and give the path of its socket once it serves; at the end nothing is left of it.

    Refuses ``request.unsupported``, reason ``signerd_missing``, where signerd is not installed or a plugin that it
    takes is not; Fault ``internal``, reason ``signerd_start``, where it does not start.
    """
    found = Path(sys.executable).with_name("signerd")
    program = str(found) if found.exists() else shutil.which("signerd")
    if program is None:
        raise Refusal("request.unsupported", "signerd_missing", "no signerd is installed here")
    with tempfile.TemporaryDirectory(prefix="signerd-") as made:
        folder = Path(made)
        configuration = folder / "signerd.toml"
        configuration.touch(0o600)
        configuration.write_text(_configuration(services, issuer, folder))
        socket = folder / "sign.sock"
        command: list[str | Path] = [program, "serve", "--config", configuration]
        command += ["--state", folder / "state", "--socket", socket]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, whatever locks other threads hold
        )
        listening = _Listening(process)
        try:
            listening.wait_ready()
            yield socket
        finally:
            listening.end()


class _Listening:
    """Reads what the daemon says, so that it never waits for a reader."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._said = ""
        self._over = threading.Event()
        self._ready = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        self._over.wait(START_S)
        if self._ready:
            return
        last = self._said.strip().rpartition("\n")[2][-300:]
        if self._over.is_set() and self._process.wait(END_S) == 2:
            raise Refusal("request.unsupported", "signerd_missing", f"signerd does not start here: {last}")
        raise Fault("internal", "signerd_start", f"signerd does not start: {last}")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_S)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("ready unix:"):
                self._ready = True
                self._over.set()
            elif not self._ready:
                self._said += line
        self._over.set()


def _die_with_parent() -> None:
    # Whatever ends the client, no daemon stays behind with its caller's token.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _configuration(services: Services, issuer: str, folder: Path) -> str:
    url, authority = services.authority
    ca = _chain(folder / "fulcio.pem", authority.chain)
    ct_logs = [str(_key(folder / f"ct-{at}.pem", log)) for at, log in enumerate(services.ct_logs)]
    trusted = f"ca = {_text(ca)}\nct_log_keys = {_text(ct_logs)}\nissuers = {_text([issuer])}"
    backend, _, issuers = trusted.rpartition("\n")
    parts = [f'[plugins.{name}]\ncertificate = "none"' for name in _PLUGINS]
    parts.append(f"""
[tenants.local]
keys = ["{KEY}"]
[keys."{KEY}"]
backend = "fulcio"
tenant = "local"
[keys."{KEY}".keyless]
{trusted}
[backends.fulcio]
certificate = "none"
scheme = "fulcio"
kind = "network"
[backends.fulcio.settings]
url = {_text(url)}
{backend}
[backends.fulcio.settings.keys.own]
token = "request"
{issuers}""")
    for at, (url, log) in enumerate(services.logs):
        key = _text(_key(folder / f"log-{at}.pem", log))
        shard = f"{{ url = {_text(url)}, public_key = {key}, origin = {_text(log.host)} }}"
        parts.append(_publisher(f"log-{at}", "log-rekor", "log", f"shards = [{shard}]"))
    for at, (url, stamps) in enumerate(services.stamps):
        chain = _text(_chain(folder / f"stamp-{at}.pem", stamps.chain))
        parts.append(_publisher(f"stamp-{at}", "stamp-rfc3161", "stamp", f"url = {_text(url)}\nchain = {chain}"))
    return "\n".join(parts) + "\n"


def _publisher(name: str, plugin: str, kind: str, settings: str) -> str:
    needed = "needed = true\n" if kind == "log" else ""
    return f"""
[publishers.{name}]
plugin = "{plugin}"
kind = "{kind}"
certificate = "none"
{needed}[publishers.{name}.settings]
{settings}"""


def _text(value: str | Path | list[str]) -> str:
    """Write a TOML string or an array of them: JSON's escapes are TOML's."""
    return json.dumps(os.fspath(value) if isinstance(value, Path) else value)


def _chain(path: Path, chain: tuple[Certificate, ...]) -> Path:
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    return path


def _key(path: Path, log: Log) -> Path:
    loaded = load_der_public_key(log.key.spki)
    path.write_bytes(loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path
