"""MACs through a running daemon: what is made and compared, what is refused, and what each leaves on the record."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from outside.parts import ROOT
from running.client import Client, Connect, memfd
from running.configured import until
from running.daemon import Running, running
from running.macs import SECRETS, macs_config
from signerd_client import AsyncSigner, Signer
from signerd_key_hmac.algorithms import compute

HOOK = SECRETS["hook"][1]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("macs")
    with running(base, config=macs_config(base)) as started:
        yield started


def asked(
    data: object = b"event", purpose: str = "webhook-interop", key: str = "hmac:hook", **more: Any
) -> dict[str, Any]:
    return {"purpose": purpose, "key": key, "data": data, **more}


def reason(answer: dict[str, Any]) -> str:
    return f"{answer['code']} {answer['details']['reason']}"


def ends(daemon: Running) -> dict[str, list[dict[str, Any]]]:
    """The leaves of each MAC's record, oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in daemon.leaves():
        leaf = json.loads(bytes(row["leaf"]))  # type: ignore[call-overload]  # a blob
        method = leaf.get("request", {}).get("method", "")
        if method.startswith("hmac.") and "count" not in leaf:
            found[leaf["audit_id"]] = [leaf]
        elif leaf.get("audit_id") in found:
            found[leaf["audit_id"]].append(leaf)
    return found


def test_a_mac_is_that_of_the_standard_and_is_compared(client: Client) -> None:
    made = client.result("hmac.compute", asked())
    assert made["mac"] == hmac.digest(HOOK, b"event", "sha256")
    assert made["algorithm"] == "HMAC-SHA256"
    verified = client.result("hmac.verify", asked(mac=made["mac"]))
    assert (verified["valid"], verified["keyid"]) == (True, made["keyid"])
    for wrong in (bytes(32), made["mac"][::-1], made["mac"][:-1] + bytes([made["mac"][-1] ^ 1])):
        assert client.result("hmac.verify", asked(mac=wrong))["valid"] is False
    assert client.result("hmac.verify", asked(b"another", mac=made["mac"]))["valid"] is False


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 256 * 1024, 256 * 1024 + 1, 1024 * 1024])
def test_inline_data_of_any_size(client: Client, size: int) -> None:
    data = os.urandom(size)
    assert client.result("hmac.compute", asked(data))["mac"] == hmac.digest(HOOK, data, "sha256")


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 7])
def test_data_by_descriptor(client: Client, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    for descriptor in (os.open(tmp_path / "file", os.O_RDONLY), memfd(data), memfd(data, sealed=False)):
        os.lseek(descriptor, 0, os.SEEK_END)
        where = {"fd": 0, "size": size}
        made = client.result("hmac.compute", asked(where, "authentication", "hmac:session"), [descriptor])
        assert made["mac"] == hmac.digest(SECRETS["session"][1], data, "sha512")
        checked = asked(where, "authentication", "hmac:session", mac=made["mac"])
        assert client.result("hmac.verify", checked, [descriptor])["valid"] is True
        os.close(descriptor)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (asked(purpose="authentication"), "key.forbidden other_purpose"),
        (asked(purpose="signing", key="hmac:session"), "key.forbidden other_purpose"),
        (asked(purpose="signing", key="hmac:other"), "key.not_found no_such_key"),
        (asked(purpose="signing", key="hmac:nobody"), "key.not_found no_such_key"),
        (asked(purpose="signing", key="file:default"), "key.forbidden signing_key"),
        (asked(purpose="payments"), "request.unsupported unknown_value"),
        ({"purpose": "signing", "data": b""}, "request.malformed missing_field"),
        (asked(data="text"), "request.malformed wrong_type"),
        (asked(data=bytes(1024 * 1024 + 1)), "request.too_large inline_too_large"),
        (asked(data={"fd": 0, "size": 1}), "request.malformed descriptor_index"),
        (asked(algorithm="HMAC-SHA1"), "request.unsupported unknown_key"),
    ],
)
def test_what_is_refused(client: Client, params: dict[str, Any], said: str) -> None:
    assert reason(client.error("hmac.compute", params)) == said
    assert client.result("hmac.compute", asked())["mac"]


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 64])
def test_a_mac_of_another_length_is_no_mac(client: Client, length: int) -> None:
    made = client.result("hmac.compute", asked())["mac"]
    cut = (made + made)[:length]
    answer = client.error("hmac.verify", asked(mac=cut))
    assert (reason(answer), answer["details"]["limit"]) == ("request.malformed mac_length", 32)
    assert reason(client.error("hmac.verify", asked(mac=bytes(65)))).startswith("request.malformed")


def test_a_tag_of_another_purpose_or_key_does_not_verify(client: Client) -> None:
    """The bytes do not say the purpose, so that outside receivers agree; the key does."""
    made = client.result("hmac.compute", asked())
    assert client.result("hmac.compute", asked(purpose="signing"))["mac"] == made["mac"]
    answer = client.error("hmac.verify", asked(purpose="authentication", mac=made["mac"]))
    assert reason(answer) == "key.forbidden other_purpose"
    other = client.result("hmac.compute", asked(purpose="signing", key="hmac:made"))
    assert (other["algorithm"], len(other["mac"])) == ("HMAC-SHA384", 48)
    assert reason(client.error("hmac.verify", asked(purpose="signing", mac=other["mac"]))) == (
        "request.malformed mac_length"
    )


def test_a_key_that_makes_macs_signs_nothing(client: Client, sbom: dict[str, Any]) -> None:
    answer = client.error("sign.dsse", {**sbom, "options": {"keys": ["hmac:hook"]}})
    assert reason(answer) == "key.forbidden mac_key"


def test_what_is_told_of_such_a_key(client: Client) -> None:
    listed = {key["key"]: key for key in client.result("keys.list", {})["keys"]}
    assert set(listed) == {"file:default", "hmac:hook", "hmac:session", "hmac:made"}
    described = client.result("keys.describe", {"key": "hmac:hook"})
    assert (described["algorithm"], described["uses"]) == ("HMAC-SHA256", ["hmac"])
    assert (described["spki"], described["public_key_pem"], described["verify_command"]) == (b"", "", [])
    label = hmac.digest(HOOK, b"signerd: id of a MAC key, version 1", "sha256")
    assert described["keyid"] == f"sha256:{hashlib.sha256(label).hexdigest()}" == listed["hmac:hook"]["keyid"]
    assert client.error("keys.describe", {"key": "hmac:other"})["code"] == "key.not_found"


def test_each_leaves_one_closed_record(daemon: Running, client: Client) -> None:
    made = client.result("hmac.compute", asked(b"recorded"))
    good = client.result("hmac.verify", asked(b"recorded", mac=made["mac"]))
    bad = client.result("hmac.verify", asked(b"recorded", mac=bytes(32)))
    until(lambda: all(len(ends(daemon)[each["audit_id"]]) == 2 for each in (made, good, bad)))
    leaves = ends(daemon)
    decided, outcome = leaves[made["audit_id"]]
    assert decided["kind"] == "decided"
    assert decided["request"]["method"] == "hmac.compute"
    decision = decided["decision"]
    assert (decision["purpose"], decision["size"], decision["algorithm"]) == ("webhook-interop", 8, "HMAC-SHA256")
    assert decision["key"] == {"key": "hmac:hook", "keyid": made["keyid"], "source": "hmac", "version": 1}
    assert outcome["outcome"] == "computed"
    assert [leaves[each["audit_id"]][1]["outcome"] for each in (good, bad)] == ["valid", "invalid"]
    text = json.dumps(leaves)
    assert made["mac"].hex() not in text
    refused = client.error("hmac.compute", asked(purpose="authentication"))
    assert refused["code"] == "key.forbidden"
    (last,) = list(ends(daemon).values())[-1]
    assert (last["kind"], last["reason"], last["request"]["key"]) == ("refused", "other_purpose", "hmac:hook")
    assert last["request"]["purpose"] == "authentication"


def test_a_long_one_holds_up_no_other_and_is_cancelled(daemon: Running, client: Client, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    known = set(ends(daemon))
    long = client.ask("hmac.compute", asked({"fd": 0, "size": 1 << 40}), [descriptor])
    os.close(descriptor)
    for _ in range(20):
        assert client.result("hmac.compute", asked())["mac"]
    client.put({"type": "cancel", "id": long})
    answer = client.take()
    assert answer is not None
    assert (answer["id"], answer["code"]) == (long, "request.cancelled")
    until(lambda: [one[-1].get("outcome") for i, one in ends(daemon).items() if i not in known].count("cancelled") == 1)
    assert client.result("hmac.compute", asked())["mac"]


def test_the_deadline_ends_it(daemon: Running, client: Client, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    for _ in range(3):  # time and again: a caller's file is no sign of a worker that hangs
        answer = client.call("hmac.compute", asked({"fd": 0, "size": 1 << 40}), [descriptor], deadline_ms=200)
        assert answer["code"] == "request.deadline"
    os.close(descriptor)
    assert client.result("hmac.compute", asked())["mac"]
    assert "taken down" not in daemon.said


def test_whoever_hangs_up_is_recorded(daemon: Running, connect: Connect, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    known = set(ends(daemon))
    caller = connect()
    caller.greet()
    caller.ask("hmac.compute", asked({"fd": 0, "size": 1 << 40}), [descriptor])
    os.close(descriptor)
    until(lambda: bool(set(ends(daemon)) - known))
    caller.close()
    until(lambda: all(len(leaves) == 2 for leaves in ends(daemon).values() if leaves[0]["kind"] == "decided"))
    (new,) = set(ends(daemon)) - known
    assert ends(daemon)[new][1]["outcome"] == "cancelled"


def test_a_file_that_shrinks_while_it_is_read(client: Client, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 33)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    request = client.ask("hmac.compute", asked({"fd": 0, "size": 1 << 33}), [descriptor])
    os.truncate(tmp_path / "file", 1 << 20)
    os.close(descriptor)
    answer = client.take()
    assert answer is not None
    assert (answer["id"], reason(answer)) == (request, "request.malformed size_mismatch")


@pytest.mark.parametrize("role", ["key", "sealer"])
def test_what_was_under_way_when_a_process_died_is_closed_once(
    daemon_factory: type[Running], tmp_path: Path, role: str
) -> None:
    base = tmp_path / "daemon"
    base.mkdir()
    daemon = daemon_factory(base, config=macs_config(base))
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    with Client(daemon.socket) as client:
        client.greet()
        client.ask("hmac.compute", asked({"fd": 0, "size": 1 << 40}), [descriptor])
        os.close(descriptor)
        until(lambda: bool(ends(daemon)))
        if role == "sealer":
            os.kill(daemon.child("sealer"), signal.SIGKILL)
        else:
            for pid in workers(daemon):
                os.kill(pid, signal.SIGKILL)
        answer = client.take()
        assert answer is not None
        lost = {"sealer": "audit.unavailable sealer_lost", "key": "key.backend_unavailable worker_died"}
        assert reason(answer) == lost[role]
        until(lambda: client.call("hmac.compute", asked())["type"] == "response")
    first = next(iter(ends(daemon)))
    until(lambda: len(ends(daemon)[first]) == 2)
    assert ends(daemon)[first][1]["outcome"] == {"sealer": "unknown", "key": "fault"}[role]


def workers(daemon: Running) -> list[int]:
    """The pids of all key workers."""
    sealer = daemon.child("sealer")
    children = Path(f"/proc/{sealer}/task/{sealer}/children").read_text().split()
    return [int(pid) for pid in children if b"signerd.worker.key" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_key_is_rotated_and_what_it_made_is_still_compared(daemon_factory: type[Running], tmp_path: Path) -> None:
    base = tmp_path / "daemon"
    base.mkdir()
    admin = f'[sockets.admin]\npath = "{base}/admin.sock"\n'
    daemon = daemon_factory(base, config=macs_config(base, more=admin))
    with Client(daemon.socket) as client, Client(base / "admin.sock") as operator:
        client.greet()
        operator.greet()
        old = client.result("hmac.compute", asked(purpose="signing", key="hmac:made"))
        order = {"key": "hmac:made", "reason": "test", "overlap_s": 600}
        operator.result("keys.rotate", order)
        new = client.result("hmac.compute", asked(purpose="signing", key="hmac:made"))
        assert new["keyid"] != old["keyid"]
        assert new["mac"] != old["mac"]
        by_name = asked(purpose="signing", key="hmac:made", mac=old["mac"])
        assert client.result("hmac.verify", by_name)["valid"] is False
        assert client.result("hmac.verify", {**by_name, "key": old["keyid"]})["valid"] is True
        assert client.error("hmac.compute", asked(purpose="signing", key=old["keyid"]))["code"] == "key.not_found"
        operator.result("keys.revoke", {"key": "hmac:made", "version": 1, "reason": "test"})
        assert client.error("hmac.verify", {**by_name, "key": old["keyid"]})["code"] == "key.revoked"
        published = operator.result("keys.publish", {})
        assert b"hmac:" not in json.dumps(published, default=repr).encode()
        assert operator.error("keys.rotate", {**order, "algorithm": "HMAC-SHA256"})["code"] == "key.algorithm_refused"


def test_the_page_shows_a_leaf_as_it_is(daemon: Running, client: Client) -> None:
    made = client.result("hmac.compute", asked())
    text = (ROOT / "docs" / "key-hmac.md").read_text()
    shown = json.loads(text.split("```json\n")[1].split("```")[0])
    real = ends(daemon)[made["audit_id"]][0]
    assert set(shown) == set(real)
    for part in ("decision", "request"):
        assert set(shown[part]) == set(real[part]) - {"degraded"}
    assert set(shown["decision"]["key"]) == set(real["decision"]["key"])


def test_the_command_and_the_clients_agree_with_openssl(daemon: Running, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    environment = {**os.environ, "SIGNERD_SOCKET": str(daemon.socket)}
    program = Path(sys.executable).parent / "signerctl"
    named = ["--purpose", "signing", "--key", "hmac:hook"]

    def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        line = [program, "hmac", *arguments]
        return subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, check=False)

    made = command("compute", *named, "file")
    assert made.returncode == 0, made.stderr
    mac = made.stdout.decode().strip()
    options = ["-mac", "hmac", "-macopt", f"hexkey:{HOOK.hex()}", "-r", tmp_path / "file"]
    said = subprocess.run(["openssl", "dgst", "-sha256", *options], capture_output=True, check=True).stdout
    assert said.decode().split()[0] == mac
    assert command("verify", *named, "--mac", mac, "file").returncode == 0
    (tmp_path / "file").write_bytes(data[:-1])
    assert command("verify", *named, "--mac", mac, "file").returncode == 6
    assert command("verify", *named, "--mac", mac[:-2], "file").returncode == 2
    assert command("compute", "--purpose", "authentication", "--key", "hmac:hook", "file").returncode == 3
    assert command("compute", "--purpose", "signing", "--key", "hmac:no", "file").returncode == 4

    with Signer.connect(daemon.socket) as signer:
        assert signer.hmac_compute("signing", "hmac:hook", data).mac.hex() == mac
        assert signer.hmac_verify("signing", "hmac:hook", data, bytes.fromhex(mac)).valid

    async def asynchronous() -> bool:
        async with AsyncSigner.connect(daemon.socket) as signer:
            again = await signer.hmac_compute("signing", "hmac:hook", data)
            assert again.mac.hex() == mac
            return (await signer.hmac_verify("signing", "hmac:hook", data, bytes(32))).valid

    assert anyio.run(asynchronous) is False


RFC_7836 = "a1aa5f7de402d7b3d323f2991c8d4534013137010a83754fd0af6d7cd4922ed9"
"""Appendix B, HMAC_GOSTR3411_2012_256 by a secret of the bytes 0 to 31."""


def test_a_joined_profile_has_the_macs_of_each_part_and_a_secret_is_one_key(
    daemon_factory: type[Running], tmp_path: Path
) -> None:
    base = tmp_path / "daemon"
    (base / "gost").mkdir(parents=True, mode=0o700)
    secrets = {
        "gost": ("HMAC-GOST3411-2012-256", bytes(range(32))),
        "gost512": ("HMAC-GOST3411-2012-512", bytes(range(64))),
        "sm": ("HMAC-SM3", bytes(range(1, 33))),
        "twin": ("HMAC-SM3", bytes(range(32))),
    }
    more = f"""
[plugins.entitlement-file.tenants.joined]
plan = "p"
[plugins.entitlement-file.plans.p]
concurrency = 8
size = 1024
[plugins.auth-peercred.callers]
{os.geteuid()} = {{ tenant = "joined" }}
[backends.gost]
certificate = "none"
scheme = "hmac"
settings = {{ directory = "{base}/gost" }}
[tenants.joined]
profile = "gost+sm"
keys = {[f"hmac:{name}" for name in secrets]}
"""
    for name, (algorithm, secret) in secrets.items():
        file = base / "gost" / f"{name}.{algorithm.lower()}"
        file.touch(mode=0o600)
        file.write_bytes(secret)
        more += f"""
[keys."hmac:{name}"]
backend = "gost"
tenant = "joined"
purposes = ["signing"]
algorithm = "{algorithm}"
"""
    daemon = daemon_factory(base, config=macs_config(base, more=more))
    data = bytes.fromhex("0126bdb87800af214341456563780100")
    with Client(daemon.socket) as client:
        client.greet()
        for name, (algorithm, secret) in list(secrets.items())[:3]:
            made = client.result("hmac.compute", asked(data, "signing", f"hmac:{name}"))
            assert (made["algorithm"], made["mac"]) == (algorithm, compute(algorithm, secret, [data]))
            checked = asked(data, "signing", f"hmac:{name}", mac=made["mac"])
            assert client.result("hmac.verify", checked)["valid"] is True
        assert client.result("hmac.compute", asked(data, "signing", "hmac:gost"))["mac"].hex() == RFC_7836
        # The same secret as a second key, though for another algorithm: whichever came second is none.
        assert client.error("hmac.compute", asked(data, "signing", "hmac:twin"))["code"] == "key.not_found"
    assert "known_key" in daemon.said or "this very key is in the ring already" in daemon.said
