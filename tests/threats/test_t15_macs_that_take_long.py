"""T15: a tenant asks for many MACs by a slow algorithm, over data that comes inline.

Streebog is Python: with thirty threads of it a worker answers nothing short in its time, is taken for hung and killed,
under all the tenants that it serves.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from running.client import Client, Connect
from running.daemon import Running, running
from running.macs import macs_config

FLOOD = 30
CONNECTIONS = 3
SLOW = """
[keys."hmac:gost"]
backend = "hmac"
tenant = "local"
purposes = ["signing"]
algorithm = "HMAC-GOST3411-2012-256"
generate = "HMAC-GOST3411-2012-256"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("macs")
    config = macs_config(base, more=SLOW)
    own = '"hmac:session", "hmac:made"'
    assert own in config
    config = config.replace(f"{own}]", f'{own}, "hmac:gost"]\nprofile = "world+gost"\ndefault_key = "file:default"')
    with running(base, config=config) as started:
        yield started


def test_whoever_asks_for_little_is_answered_meanwhile(
    daemon: Running, connect: Connect, client: Client, sbom: dict[str, Any]
) -> None:
    slow = {"purpose": "signing", "key": "hmac:gost", "data": b"x" * 250_000}
    little = {**slow, "data": b"x"}
    client.result("hmac.compute", little)
    flooding = [connect() for _ in range(CONNECTIONS)]
    for one in flooding:
        one.greet()
    for one in flooding:
        for _ in range(FLOOD):
            one.ask("hmac.compute", slow)
    for _ in range(10):
        client.result("hmac.compute", little)
        client.result("hmac.compute", {**little, "key": "hmac:hook"})
    assert client.result("sign.dsse", sbom)["bundles"]
    for one in flooding:
        one.close()
        one.descriptors.clear()
    client.result("hmac.compute", {**slow, "data": b"x" * 5000})
    assert "does not answer" not in daemon.said
