"""Keys in every state of their life, in a real daemon: what signs, what is refused, and with which code."""

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.life import Keys
from running.callers import request
from running.configured import key_workers, records, stopped
from running.daemon import RELEASE, Running, running
from signerd.errors import SignerdError
from signerd.sealer.key_spec import KeySpec
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest

DAY_S = 86_400
ENDED = ("revoked", "suspended", "retired", "expired", "pending")
NAMES = ("active", "old", "rotated", *ENDED, "planned", "main", "spare")
CONFIG = """
[limits]
worker_call_software_s = 0.5
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{release}" }}]
[plugins.predicates-intoto]
certificate = "none"
[backends.first]
scheme = "file"
certificate = "none"
settings = {{ directory = "{state}/keys" }}
[backends.second]
scheme = "file"
certificate = "none"
settings = {{ directory = "{state}/keys" }}
[tenants.local]
keys = [{references}]
default_key = "file:active"
"""


def lived(state: Path) -> None:
    """Make a state directory in which each key has had its life."""
    state.mkdir(mode=0o700)
    keys = Keys(state, *[KeySpec(f"file:{name}", "local", "soft", "file") for name in NAMES])
    keys.close()
    now = int(time.time() * 1000)
    for name, days in {"expired": -366, "pending": 1, "old": -320}.items():
        keys.clock.ms = now + days * DAY_S * 1000
        keys.open()
        keys.done("generate", f"file:{name}")
        keys.close()
    keys.clock.ms = now - 60_000
    keys.open()
    for name in ("active", "rotated", "revoked", "suspended", "retired", "planned", "main", "spare"):
        keys.done("generate", f"file:{name}")
    keys.done("rotate", "file:rotated", overlap_s=3600)
    keys.done("revoke", "file:revoked", cause="compromised")
    keys.done("suspend", "file:suspended")
    keys.done("retire", "file:retired")
    keys.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("life")
    lived(base / "state")
    references = ", ".join(f'"file:{name}"' for name in NAMES)
    text = CONFIG.format(release=RELEASE, state=base / "state", references=references)
    for name in NAMES:
        text += f'[keys."file:{name}"]\nbackend = "{"second" if name == "spare" else "first"}"\ntenant = "local"\n'
        text += {"planned": 'plans = ["platinum"]\n', "main": 'fallback = "file:spare"\n'}.get(name, "")
    with running(base, config=text) as started:
        yield started


def asked(*names: str) -> SignRequest:
    return dataclasses.replace(request(), options=Options(keys=tuple(f"file:{name}" for name in names)))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("revoked", "key.revoked revoked"),
        ("suspended", "key.suspended suspended"),
        ("retired", "key.expired retired"),
        ("expired", "key.expired expired"),
        ("pending", "key.not_yet_valid not_yet_valid"),
        ("planned", "key.forbidden other_plan"),
    ],
)
def test_a_key_that_must_not_sign_now_is_refused_on_the_record(daemon: Running, name: str, told: str) -> None:
    with Signer.connect(daemon.socket) as signer:
        for names in ((name,), ("active", name)):
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(asked(*names))
            assert f"{caught.value.code} {caught.value.reason}" == told
    last = json.loads(bytes(daemon.leaves()[-1]["leaf"]))  # type: ignore[call-overload]  # a blob
    assert (last["kind"], last["outcome"], f"{last['code']} {last['reason']}") == ("refused", "refused", told)


def test_a_rotated_reference_means_its_new_version(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        result = signer.sign_dsse(asked("rotated")).result
        versions = [key for key in signer.keys().keys if key.key == "file:rotated"]
        old = signer.describe(versions[0].keyid)
    assert [(key.version, key.status) for key in versions] == [(1, "retiring"), (2, "active")]
    assert [(identity.keyid, identity.key_version) for identity in result.signing_identity] == [(versions[1].keyid, 2)]
    assert result.receipt.decision.keys[0].version == 2
    assert (old.version, old.status) == (1, "retiring")
    assert isinstance(old.retire_at, int)


def test_keys_are_listed_with_what_time_has_made_of_them(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        listed = {(key.key, key.version): key.status for key in signer.keys().keys}
        revoked = signer.describe("file:revoked")
    assert listed["file:expired", 1] == "expired"
    assert listed["file:pending", 1] == "pending"
    assert listed["file:retired", 1] == "retired"
    assert (revoked.status, revoked.cause, revoked.invalid_since) == ("revoked", "compromised", revoked.added_at)
    assert revoked.hardware.attested is False


def test_a_key_near_its_end_says_so_in_each_result_and_once_a_day_in_the_log(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer:
        result = signer.sign_dsse(asked("old")).result
        fresh = signer.sign_dsse(asked("active")).result
        old = signer.describe("file:old")
    assert [text.partition(":")[0] for text in result.warnings] == ["key_expires_soon"]
    assert old.expires_at == old.added_at + 365 * DAY_S * 1000
    assert fresh.warnings == ()
    assert daemon.said.count("key file:old, version 1: too old to sign in 44 days") == 1


def test_a_fallback_signs_while_the_backend_cannot_be_reached_on_a_record_of_its_own(daemon: Running) -> None:
    first, _ = key_workers(daemon)
    before = len(daemon.leaves())
    with stopped(first), Signer.connect(daemon.socket) as signer:
        result = signer.sign_dsse(asked("main")).result
    assert result.receipt.decision.degraded == ("key_fallback",)
    assert [key.key for key in result.receipt.decision.keys] == ["file:spare"]
    leaves = daemon.leaves()[before:]
    decided = [json.loads(bytes(leaf["leaf"])) for leaf in leaves if leaf["kind"] == "decided"]  # type: ignore[call-overload]
    assert [each["decision"]["keys"][0]["key"] for each in decided] == ["file:main", "file:spare"]
    one, two = (each["audit_id"] for each in decided)
    assert result.receipt.audit_id == two
    deadline = time.monotonic() + 10
    while two not in (found := records(daemon)) or not found[two]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (found[one], found[two]) == (["fault"], ["signed"])
    os.kill(first, 0)  # it went on
    with Signer.connect(daemon.socket) as signer:
        assert signer.sign_dsse(asked("main")).result.receipt.decision.degraded == ()
