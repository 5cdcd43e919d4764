"""T15: a tenant asks for approvals that nobody gives, until there is no room for others."""

from dataclasses import replace
from pathlib import Path

from fakes.presence import ALICE, SECONDS, PresenceBench
from fakes.sealing import SoftKey
from running.callers import request
from running.touching import touching
from signerd.errors import SignerdError
from signerd.sealer.presence import MOST_PENDING, MOST_PENDING_OF_TENANT
from signerd.wire.params import Options
from signerd_client import Signer
from signerd_client.presence import approval_of

FULL = ("daemon.overloaded", "approvals_pending")


def test_a_tenant_that_fills_its_room_leaves_that_of_others() -> None:
    keys = [SoftKey(f"file:{name}", tenant=name) for name in ("flooding", "quiet")]
    bench = PresenceBench(*keys)
    for number in range(MOST_PENDING_OF_TENANT):
        bench.approval(b"[%d]" % number, **bench.asked_by(keys[0]))
    for number in range(3):
        assert bench.refused(b"[9%d]" % number, **bench.asked_by(keys[0])) == FULL
    assert len(bench.presence) == MOST_PENDING_OF_TENANT
    assert bench.approval(**bench.asked_by(keys[1]))
    assert bench.touch.asked == [(ALICE, bench.touch.asked[0][1])], "one touch is asked for at a time"
    bench.clock.move(SECONDS)
    bench.turn()
    assert bench.approval(**bench.asked_by(keys[0])), "nothing is kept beyond its time"
    bench.close()


def test_all_tenants_together_have_a_limit() -> None:
    keys = [SoftKey(f"file:t{n}", tenant=f"t{n}") for n in range(MOST_PENDING // MOST_PENDING_OF_TENANT + 1)]
    bench = PresenceBench(*keys)
    for key in keys[:-1]:
        for number in range(MOST_PENDING_OF_TENANT):
            bench.approval(b"[%d]" % number, **bench.asked_by(key))
    assert len(bench.presence) == MOST_PENDING
    assert bench.refused(**bench.asked_by(keys[-1])) == FULL
    bench.close()


def test_who_floods_is_told_and_keys_that_need_nobody_sign_on(tmp_path: Path) -> None:
    with touching(tmp_path) as (daemon, device), Signer.connect(daemon.socket) as signer:
        outcomes = signer.sign_batch([request(number) for number in range(MOST_PENDING_OF_TENANT + 8)])
        errors = [outcome.error for outcome in outcomes]
        assert all(isinstance(error, SignerdError) for error in errors)
        waiting = [error for error in errors if error is not None and approval_of(error)]
        full = [error for error in errors if error is not None and not approval_of(error)]
        assert len(waiting) == MOST_PENDING_OF_TENANT
        assert {(error.code, error.reason) for error in full} == {FULL}
        assert signer.sign_dsse(replace(request(), options=Options(keys=("file:plain",)))).bundles
        device.wait_asked(3)  # two for the enrolment
        assert device.asked == 3
