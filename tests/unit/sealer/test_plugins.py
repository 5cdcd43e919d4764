import importlib.metadata
import logging
import re
import sys
import time
from pathlib import Path

import msgspec
import pytest

from signerd.host.config import embedded
from signerd.host.config_model import Plugin
from signerd.sealer.plugins import plugin_facts

CONFIG = embedded(Path("/var/lib/signerd"), Path("/run/signerd/sign.sock"))


def test_every_distribution_that_is_loaded_is_named_with_its_records_digest() -> None:
    facts = plugin_facts(CONFIG)
    assert [fact.name for fact in facts] == sorted(
        [
            "signerd-auth-peercred",
            "signerd-entitlement-file",
            "signerd-key-file",
            "signerd-predicates-intoto",
            "signerd-predicates-stella",
            "signerd-release-allowlist",
        ]
    )
    for fact in facts:
        assert fact.version == importlib.metadata.version(fact.name)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", fact.digest)


def test_nothing_of_them_is_imported() -> None:
    before = set(sys.modules)
    plugin_facts(CONFIG)
    assert not [name for name in set(sys.modules) - before if name.startswith("signerd_")]


def test_what_is_not_installed_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    config = msgspec.structs.replace(CONFIG, plugins=(*CONFIG.plugins, Plugin("nobody", "none")))
    with caplog.at_level(logging.WARNING):
        assert plugin_facts(config) == plugin_facts(CONFIG)
    assert "nobody" in caplog.text


def test_it_is_quick_for_it_stands_in_the_way_of_the_start() -> None:
    plugin_facts(CONFIG)
    best = 1.0
    for _ in range(3):
        start = time.perf_counter()
        plugin_facts(CONFIG)
        best = min(best, time.perf_counter() - start)
    assert best < 0.1, "about 0.015 s where nothing else runs"
