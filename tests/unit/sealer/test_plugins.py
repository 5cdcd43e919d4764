import importlib.metadata
import logging
import re
import sys
import time
from pathlib import Path

import msgspec
import pytest

from signerd.errors import Refusal
from signerd.host.config import embedded
from signerd.host.config_model import Backend, Config, Conformance, Plugin
from signerd.sealer.plugins import certified, plugin_facts

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


def certificate_of(path: str) -> Config:
    """The defaults, the backend with a certificate."""
    backends = tuple(msgspec.structs.replace(backend, certificate=path) for backend in CONFIG.backends)
    return msgspec.structs.replace(CONFIG, backends=backends, conformance=Conformance(("/absent.pub",)))


def test_a_backend_whose_certificate_does_not_hold_is_refused_and_not_imported() -> None:
    certified(CONFIG)
    before = set(sys.modules)
    with pytest.raises(Refusal) as refused:
        certified(certificate_of("/absent.json"))
    assert (refused.value.code, refused.value.reason) == ("request.malformed", "certificate")
    assert "embedded defaults: backends.file: plugin file: /absent.pub" in str(refused.value.args[0])
    assert not [name for name in set(sys.modules) - before if name.startswith("signerd_")]


def test_the_start_is_recorded_without_a_plugin_whose_certificate_does_not_hold() -> None:
    assert "signerd-key-file" not in {fact.name for fact in plugin_facts(certificate_of("/absent.json"))}


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


def test_a_worker_at_a_socket_path_has_no_distribution_here(caplog: pytest.LogCaptureFixture) -> None:
    at_socket = Backend("far", "any-language", "none", socket="/run/far/x.sock", credential="far")
    with caplog.at_level(logging.WARNING):
        assert plugin_facts(msgspec.structs.replace(CONFIG, backends=(*CONFIG.backends, at_socket))) == plugin_facts(
            CONFIG
        )
    assert caplog.text == ""
