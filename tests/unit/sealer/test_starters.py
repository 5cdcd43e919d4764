from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd.host.config import parse
from signerd.sealer import starters
from signerd.sealer.starters import PIN_CONFIRMED, backend_spec

TEXT = """
[plugins.auth-peercred]
certificate = "none"
[limits]
worker_backoff_first_s = 0.5
worker_backoff_longest_s = 9
[backends.soft]
scheme = "file"
certificate = "none"
kind = "hsm"
settings = { directory = "/keys" }
[backends.far]
scheme = "token"
certificate = "none"
socket = "/run/nobody/far.sock"
credential = "/run/nobody/credential"
[tenants.acme]
keys = ["file:a"]
[keys."file:a"]
backend = "soft"
tenant = "acme"
"""


def configured(name):
    config = parse(TEXT, "test", state=Path("/state"), socket=Path("/sign.sock"))
    return config, next(backend for backend in config.backends if backend.name == name)


def test_deadline_and_backoff_are_the_configured_ones():
    spec = backend_spec(*configured("soft"), set())
    assert (spec.name, spec.scheme, spec.deadline_s, spec.backoff_s) == ("soft", "file", 10.0, (0.5, 9.0))


def test_a_confirmed_pin_is_said_to_one_start_alone(monkeypatch):
    environments = []
    monkeypatch.setattr(starters, "spawn", lambda *_, settings, environment: environments.append(environment))
    confirmed = {"soft", "other"}
    start = backend_spec(*configured("soft"), confirmed).start
    start()
    start()
    assert environments == [{PIN_CONFIRMED: "1"}, {}]
    assert confirmed == {"other"}


def test_a_service_that_is_not_there_is_said_so_at_each_start():
    start = backend_spec(*configured("far"), set()).start
    for _ in range(2):
        with pytest.raises((OSError, SignerdError)):
            start()
