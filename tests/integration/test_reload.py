"""SIGHUP with a changed file, against a real daemon."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from running.configured import configuration, until
from running.daemon import RELEASE, Running
from signerd.errors import Refusal
from signerd_client import Signer, SignRequest, Subject

FIRST, SECOND = RELEASE, "sha256:" + "cd" * 32


def ask(release: str) -> SignRequest:
    document = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}'
    subject = Subject("artefact", {"sha256": "11" * 32})
    return SignRequest(subject=[subject], predicate_type="cyclonedx", predicate=document, scanner_image_digest=release)


def reload(daemon: Running, text: str, said: str) -> None:
    """Change the file, send SIGHUP, and wait for what the daemon says of it."""
    before = daemon.said.count(said)
    (daemon.base / "signerd.toml").write_text(text)
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: daemon.said.count(said) > before)


def test_a_reload_changes_what_is_decided_and_drops_no_connection(
    daemon_factory: Callable[..., Running], tmp_path: Path
) -> None:
    def text(digest: str, uid: int = os.getuid()) -> str:
        caller = f"[plugins.auth-peercred]\nuids = [{uid}]"
        return configuration(tmp_path, {}).replace("[plugins.auth-peercred]", caller).replace(RELEASE, digest)

    daemon = daemon_factory(tmp_path, config=text(FIRST))
    with Signer.connect(daemon.socket) as signer:
        signer.sign_dsse(ask(FIRST))
        reload(daemon, text(SECOND), "reload: done")
        signer.sign_dsse(ask(SECOND))
        with pytest.raises(Refusal) as refused:
            signer.sign_dsse(ask(FIRST))
        assert refused.value.code == "release.untrusted"

        reload(daemon, "[plugins.nonsense]\n", "reload: nothing is changed")
        signer.sign_dsse(ask(SECOND))

        reload(daemon, text(SECOND, uid=os.getuid() + 1), "reload: done")
        with pytest.raises(Exception) as ended:  # which end it is depends on who is first
            signer.sign_dsse(ask(SECOND))
        assert getattr(ended.value, "code", "") in {"auth.peer_denied", "daemon.draining"}


def test_a_reload_gives_nobody_back_what_is_used_up(daemon_factory: Callable[..., Running], tmp_path: Path) -> None:
    plan = """[plugins.entitlement-file]
plans.one = { concurrency = 4, size = 4096, daily = 1 }
tenants.local = { plan = "one" }
"""
    text = configuration(tmp_path, {}).replace("[plugins.entitlement-file]\n", plan)
    daemon = daemon_factory(tmp_path, config=text)
    with Signer.connect(daemon.socket) as signer:
        signer.sign_dsse(ask(RELEASE))
        reload(daemon, text, "reload: done")
        with pytest.raises(Refusal) as refused:
            signer.sign_dsse(ask(RELEASE))
        assert refused.value.code == "quota.daily"
