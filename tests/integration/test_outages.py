"""docs/transparency.md says what each part's outage is told as: each row is made again by the plugins themselves."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.fulcio import FakeFulcio, jwt
from fakes.http_double import HttpDouble, Reply
from fakes.publishers import AuthorityDouble, LogDouble
from fakes.sigstore import new_key, spki
from fakes.tls_front import TlsAuthority, tls_front
from outside.parts import ROOT
from signerd.contracts.values import SignFor
from signerd.errors import SignerdError
from signerd_key_fulcio.backend import FulcioBackend
from signerd_log_rekor.log import RekorLog
from signerd_log_rekor.settings import read_settings as log_settings
from signerd_stamp_rfc3161.authority import TimestampAuthority
from signerd_stamp_rfc3161.settings import read_settings as stamp_settings

PAGE = (ROOT / "docs" / "transparency.md").read_text()
HTML = {"Content-Type": "text/html"}

OUTAGES: dict[str, Reply | None] = {
    "is not there": None,
    "takes the connection and says nothing": Reply(behaviour="silent"),
    "answers too slowly": Reply(200, behaviour="slow"),
    "breaks off": Reply(201, b"{}", behaviour="cut"),
    "answers 503": Reply(503, b"busy"),
    "answers 500": Reply(500, b"no"),
    "answers HTML": Reply(200, b"<html><title>Sign in</title></html>", HTML),
    "redirects": Reply(302, b"", {"Location": "http://localhost:1/"}),
    "answers without end": Reply(200, behaviour="endless"),
}
TLS = "has another's certificate, or one that has ended"


def told(call: Callable[[], object]) -> str:
    try:
        call()
    except SignerdError as error:
        return f"`{error.code}` `{error.reason}`"
    return "signs"


class Parts:
    """The three plugins, each before a double that says ``reply``, or nobody at all."""

    def __init__(self, folder: Path, reply: Reply | None, tls: bool = False) -> None:
        self._folder = folder
        self._reply = reply
        self._tls = tls
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _settings(self, server: HttpDouble) -> tuple[Callable[[str], str], dict[str, object]]:
        """How a URL of that server is changed, and what its client is told of servers' certificates."""
        self._closing.callback(server.close)
        if self._reply is not None:
            reply = self._reply
            server.answer = lambda asked: reply
        elif not self._tls:
            server.close()
        if not self._tls:
            return str, {}
        ours, other = TlsAuthority(self._folder), TlsAuthority(self._folder, "strangers")
        base = self._closing.enter_context(tls_front(other.context(), server.port))
        return (lambda url: base + urlsplit(url).path), {"ca": str(ours.file)}

    def fulcio(self) -> str:
        known = FakeFulcio()
        server = HttpDouble(lambda asked: Reply(500))
        change, known_ca = self._settings(server)
        ca = {"tls_ca": known_ca["ca"]} if known_ca else {}
        url = change(server.url).replace("localhost", "127.0.0.1")
        backend = FulcioBackend(known.settings(self._folder, url=url, timeout_s=0.7, **ca))
        return told(lambda: backend.sign_for("fulcio:ci", bytes(32), SignFor(identity_token=jwt())))

    def rekor(self) -> str:
        double = LogDouble(self._folder)
        change, ca = self._settings(double.server)
        shard = {"url": change(double.url), "public_key": str(double.public_key)}
        log = RekorLog(log_settings({"shards": [shard], "deadline_s": 0.7, **ca}))
        key = new_key()
        given = hashlib.sha256(b"m").digest(), key.sign(b"m", ec.ECDSA(SHA256())), spki(key)
        return told(lambda: trio.run(log.submit, *given))

    def stamps(self) -> str:
        double = AuthorityDouble(self._folder)
        change, ca = self._settings(double.server)
        url = change(f"{double.server.url}/stamp")
        authority = TimestampAuthority(stamp_settings(double.settings(url=url, deadline_s=0.7, **ca)))
        return told(lambda: trio.run(authority.submit, b"", b"signature", b""))


def rows() -> Iterator[tuple[str, str]]:
    lines = PAGE.partition("## When a part is out")[2].splitlines()
    for line in lines:
        if line.startswith("| ") and not line.startswith("| the part |"):
            name, _, cells = line.strip("| ").partition(" | ")
            yield name, cells


@pytest.mark.parametrize("name", [*OUTAGES, TLS])
def test_a_row_is_what_the_plugins_say(name: str, tmp_path: Path) -> None:
    with Parts(tmp_path, OUTAGES.get(name), tls=name == TLS) as parts:
        made = f"{parts.fulcio()} | {parts.rekor()} | {parts.stamps()}"
    assert dict(rows())[name] == made


def test_the_page_has_these_rows_and_no_other() -> None:
    assert [name for name, _ in rows()] == [*OUTAGES, TLS]
