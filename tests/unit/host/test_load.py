import importlib
import itertools
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from fakes.distributions import install
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PUBLISHERS_GROUP
from signerd.host.distribution import LoadError
from signerd.host.load import (
    PluginEntry,
    load_key_backend,
    load_policy_plugins,
    load_predicates,
    load_publisher,
    worker_entry,
)

_numbers = itertools.count()

AUTHENTICATOR = """
class A:
    def __init__(self, settings): self.settings = settings
    def authenticate(self, caller): return None
@hookimpl
def signerd_authenticators(settings): return [A(settings)]
"""
ENTITLEMENT = """
class E:
    def entitle(self, principal, proof): return None
@hookimpl
def signerd_entitlements(settings): return E()
"""
RELEASE = """
class R:
    def check(self, digest, principal): return None
@hookimpl
def signerd_release_checks(): return (R(),)
"""
PREDICATE = """
class P:
    names = ("short",)
    needs_release = needs_policy = heavy = False
    def __init__(self, uri="https://example.test/P"): self.uri = uri
    def check(self, document): return None
    def policy(self, document): return None
@hookimpl
def signerd_predicates(settings): return [P()]
"""
STORE = """
class S:
    def admit_many(self, charges): return []
    def release_many(self, charges, *, signed): return None
    def seed(self, day, counts): return None
@hookimpl
def signerd_quota_stores(settings): return S()
"""
BACKEND = """
class K:
    capabilities = ()
    def describe(self, key): return None
    def sign(self, key, message): return None
@hookimpl
def signerd_key_backends(settings): return K()
"""
ALL = AUTHENTICATOR + ENTITLEMENT + RELEASE + PREDICATE


class Plugins:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, body: str, group: str = PLUGINS_GROUP) -> str:
        number = next(_numbers)
        package, name = f"signerd_loaded_{number}", f"loaded-{number}"
        text = "from signerd.contracts import hookimpl\n" + textwrap.dedent(body)
        files = {f"{package}/__init__.py": "", f"{package}/plugin.py": text}
        self.record = install(self.root, name, files, {group: {name: f"{package}.plugin"}})
        importlib.invalidate_caches()
        return name

    def load(self, *bodies: str, settings: Mapping[str, object] | None = None):  # type: ignore[no-untyped-def]
        names = [self.add(body) for body in bodies]
        return load_policy_plugins({name: PluginEntry(settings or {}) for name in names}, development=False)

    def refused(self, *bodies: str) -> str:
        with pytest.raises(LoadError) as caught:
            self.load(*bodies)
        return str(caught.value)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    root = tmp_path / "site"
    root.mkdir(mode=0o755)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return Plugins(root)


def test_all_providers_come_in_the_configured_order_each_with_its_own_settings(plugins: Plugins) -> None:
    first, second = plugins.add(AUTHENTICATOR), plugins.add(ALL)
    entries = {second: PluginEntry({"who": 2}), first: PluginEntry({"who": 1})}
    loaded = load_policy_plugins(entries, development=False)
    brought = [(p.name, vars(p.provider)["settings"]) for p in loaded.authenticators]
    assert brought == [(second, {"who": 2}), (first, {"who": 1})]
    assert loaded.entitlement.name == second
    assert [p.name for p in loaded.release_checks] == [second]
    assert list(loaded.predicates) == ["https://example.test/P"]
    assert loaded.quota_store is None
    assert [(p.name, p.version, len(p.record_sha256)) for p in loaded.plugins] == [
        (second, "1.2.3", 64),
        (first, "1.2.3", 64),
    ]


def test_what_the_configuration_does_not_name_is_not_imported(plugins: Plugins) -> None:
    unnamed = plugins.add("raise AssertionError('imported')")
    plugins.load(ALL)
    assert f"signerd_{unnamed.replace('-', '_')}.plugin" not in sys.modules


def test_a_quota_store_is_taken_where_one_is_brought(plugins: Plugins) -> None:
    assert plugins.load(ALL, STORE).quota_store is not None
    assert "at most one quota store is needed" in plugins.refused(ALL, STORE, STORE)


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([AUTHENTICATOR, RELEASE, PREDICATE], "exactly one source of entitlements is needed"),
        ([ALL, ENTITLEMENT], "exactly one source of entitlements is needed"),
        ([ENTITLEMENT, RELEASE, PREDICATE], "at least one authenticator is needed"),
        ([AUTHENTICATOR, ENTITLEMENT, PREDICATE], "at least one release check is needed"),
        ([], "at least one authenticator is needed"),
        ([ALL, PREDICATE], "the predicate type https://example.test/P is already brought by the plugin"),
        (
            [ALL, PREDICATE.replace("example.test/P", "example.test/other")],
            "the predicate type short is already brought by the plugin",
        ),
        (
            [
                PREDICATE.replace('uri="https://example.test/P"', "uri=5")
                + AUTHENTICATOR
                + ENTITLEMENT
                + RELEASE
            ],
            "that are texts",
        ),
        ([ALL.replace("heavy = False", "heavy = False; payload_type = 5")], "a payload type is a media type"),
        ([ALL.replace("heavy = False", "heavy = False; payload_type = 'text'")], "a payload type is a media type"),
        (
            [ALL.replace("heavy = False", "heavy = False; payload_type = 'application/vnd.in-toto+json'")],
            "and not that of Statements",
        ),
        (
            [
                ALL.replace("heavy = False", "heavy = False; payload_type = 'text/x'"),
                PREDICATE.replace("heavy = False", "heavy = False; payload_type = 'text/x'")
                .replace("test/P", "test/other")
                .replace("short", "other"),
            ],
            "the payload type text/x is already brought by the plugin",
        ),
        (["import nothing_of_this_name"], "cannot be imported (ModuleNotFoundError"),
        (["raise SystemExit(0)"], "cannot be imported (SystemExit: 0)"),
        (["def broken(:"], "cannot be imported (SyntaxError"),
        (["x = 1"], "it implements none of"),
        ([BACKEND], "it implements signerd_key_backends, which is not called for an entry point of signerd.plugins.v1"),
        (
            [ALL + "@hookimpl\ndef signerd_audit_sinks(settings): return None"],
            "it implements signerd_audit_sinks, which is not called",
        ),
        (["@hookimpl\ndef signerd_authenticator(settings): return []"], "its hooks are not those of signerd"),
        (
            ["@hookimpl\ndef signerd_authenticators(settings, extra): return []"],
            "its hooks are not those of signerd",
        ),
        (
            ["@hookimpl(wrapper=True)\ndef signerd_authenticators(settings): return (yield)"],
            "implemented as a wrapper",
        ),
        (
            ["@hookimpl\ndef signerd_authenticators(settings): raise ValueError('colour: unknown key')"],
            "colour: unknown key",
        ),
        (
            ["@hookimpl\ndef signerd_authenticators(settings): return 1 / 0"],
            "signerd_authenticators failed (ZeroDivisionError",
        ),
        (
            ["@hookimpl\ndef signerd_authenticators(settings): return None"],
            "returned NoneType where a sequence",
        ),
        (["@hookimpl\ndef signerd_authenticators(settings): return 'ab'"], "returned str where a sequence"),
        (
            ["@hookimpl\ndef signerd_authenticators(settings): return [object()]"],
            "returned object, which is no Authenticator",
        ),
        (
            ["@hookimpl\ndef signerd_entitlements(settings): return [1]"],
            "returned list, which is no EntitlementSource",
        ),
        (["@hookimpl\ndef signerd_quota_stores(settings): return 5"], "returned int, which is no QuotaStore"),
        ([AUTHENTICATOR.replace("[A(settings)]", "[A]")], "returned type, which is no Authenticator"),
    ],
)
def test_what_is_not_as_the_contract_says_is_one_sentence_with_the_plugins_name(
    plugins: Plugins, bodies: list[str], expected: str
) -> None:
    text = plugins.refused(*bodies)
    assert expected in text
    assert text.startswith("plugin ")


def test_an_async_hook_decides_nothing(plugins: Plugins) -> None:
    text = plugins.refused("@hookimpl\nasync def signerd_authenticators(settings): return []")
    assert "signerd_authenticators is an async function" in text


def test_pins_are_compared(plugins: Plugins) -> None:
    name = plugins.add(ALL)
    record = load_policy_plugins({name: PluginEntry()}, development=False).plugins[0].record_sha256
    load_policy_plugins({name: PluginEntry(version="1.2.3", record=record)}, development=False)
    with pytest.raises(LoadError, match=r"pins version 1\.2\.4, installed is 1\.2\.3"):
        load_policy_plugins({name: PluginEntry(version="1.2.4")}, development=False)
    with pytest.raises(LoadError, match=f"pins RECORD abc, installed is {record}"):
        load_policy_plugins({name: PluginEntry(record="abc")}, development=False)


def test_the_document_worker_calls_the_predicates_hook_alone(plugins: Plugins) -> None:
    name = plugins.add(
        PREDICATE + "@hookimpl\ndef signerd_authenticators(settings): raise AssertionError('called')\n"
    )
    assert list(load_predicates({name: PluginEntry()}, development=False)) == ["https://example.test/P"]


def test_a_key_backend_is_loaded_by_its_scheme_from_its_own_group(plugins: Plugins) -> None:
    scheme = plugins.add(BACKEND, KEY_BACKENDS_GROUP)
    assert load_key_backend(scheme, PluginEntry()).capabilities == ()
    with pytest.raises(LoadError, match="no installed distribution offers it"):
        load_policy_plugins({scheme: PluginEntry()}, development=False)


def test_of_a_key_backend_the_metadata_alone_is_read(plugins: Plugins) -> None:
    scheme = plugins.add("raise AssertionError('imported')", KEY_BACKENDS_GROUP)
    found = worker_entry(KEY_BACKENDS_GROUP, scheme)
    assert (found.distribution, found.version, len(found.record_sha256)) == (scheme, "1.2.3", 64)
    assert found.module not in sys.modules
    Path(plugins.record.parent.parent / found.module.replace(".", "/")).with_suffix(".py").write_text("")
    with pytest.raises(LoadError, match="not the one that RECORD lists"):
        worker_entry(KEY_BACKENDS_GROUP, scheme)


LOG = """
from signerd.contracts import hookimpl

class Log:
    kind = "log"
    def submit(self, payload_digest, signature, verifier):
        return b"entry"

@hookimpl
def signerd_transparency_logs(settings):
    return Log()
"""


def test_a_publisher_is_loaded_from_its_own_group_and_of_its_kind(plugins: Plugins) -> None:
    name = plugins.add(LOG, PUBLISHERS_GROUP)
    assert load_publisher(name, PluginEntry(), "log").submit(b"", b"", b"") == b"entry"
    with pytest.raises(LoadError, match="another kind"):
        load_publisher(name, PluginEntry(), "stamp")
    assert worker_entry(PUBLISHERS_GROUP, name).name == name
    with pytest.raises(LoadError, match="no installed distribution offers it"):
        load_key_backend(name, PluginEntry())


def test_loading_five_plugins_is_quick(plugins: Plugins) -> None:
    bodies = [ALL, AUTHENTICATOR, AUTHENTICATOR, RELEASE, RELEASE]
    names = [plugins.add(body + "\n# padding\n" * 500) for body in bodies]
    start = time.perf_counter()
    load_policy_plugins({name: PluginEntry() for name in names}, development=False)
    assert time.perf_counter() - start < 0.5, "about 20 ms where nothing else runs"
