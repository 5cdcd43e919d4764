"""T15: a tenant fills the threads in which the worker reads callers' files.

Each file takes a thread, for as long as its disk likes; a tenant has so many, and whoever brings bytes, or signs, does
not wait for them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import Client, Connect
from running.configured import until
from running.daemon import Running, running
from running.macs import macs_config
from signerd.sealer.macs import MOST_FILES


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("macs")
    with running(base, config=macs_config(base)) as started:
        yield started


def test_a_tenants_files_have_a_most_and_hold_up_nothing_else(
    daemon: Running, connect: Connect, client: Client, sbom: dict[str, Any], tmp_path: Path
) -> None:
    size = 1 << 40
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(size)
    descriptor = os.open(tmp_path / "sparse", os.O_RDONLY)
    file = {"purpose": "signing", "key": "hmac:hook", "data": {"fd": 0, "size": size}}
    filling = connect()
    filling.greet()
    asked = [filling.ask("hmac.compute", file, [descriptor]) for _ in range(MOST_FILES)]
    # Recorded first, so that they are under way by then.
    until(lambda: [row["kind"] for row in daemon.leaves()].count("decided") == MOST_FILES)
    inline = {**file, "data": b"x"}
    client.result("hmac.compute", inline)
    answer = client.error("hmac.compute", file, [descriptor])
    assert (answer["code"], answer["details"]["reason"]) == ("daemon.overloaded", "mac_files")
    assert answer["retryable"] is True
    os.close(descriptor)
    for _ in range(20):
        client.result("hmac.compute", inline)
        assert client.result("sign.dsse", sbom)["bundles"]
    for request in asked:
        filling.put({"type": "cancel", "id": request})
    assert {answer["code"] for _ in asked if (answer := filling.take())} == {"request.cancelled"}
    (tmp_path / "small").write_bytes(b"x")

    def served() -> bool:
        small = os.open(tmp_path / "small", os.O_RDONLY)
        answer = client.call("hmac.compute", {**file, "data": {"fd": 0, "size": 1}}, [small])
        os.close(small)
        return bool(answer["type"] == "response")

    until(served)
