import pytest

from fakes.ssh import SshSigner
from signerd.host.config import ConfigError, parse
from signerd.host.config_checks import cross_problems

GOOD = """
[daemon]
state = "/var/lib/signerd"
[sockets.sign]
path = "/run/signerd/sign.sock"
[limits]
request_deadline_s = 10
connections = 300
[plugins.auth-peercred]
certificate = "none"
[backends.soft]
certificate = "none"
scheme = "file"
[backends.hsm]
certificate = "none"
scheme = "pkcs11"
[tenants.acme]
keys = ["file:one", "pkcs11:token=a;object=b"]
default_key = "file:one"
[tenants.other]
keys = ["file:two"]
predicates = ["https://cyclonedx.org/bom"]
[keys."file:one"]
backend = "soft"
tenant = "acme"
[keys."file:two"]
backend = "soft"
tenant = "other"
[keys."pkcs11:token=a;object=b"]
backend = "hsm"
tenant = "acme"
"""


def test_what_fits_together_has_no_problem():
    assert cross_problems(parse(GOOD, "f.toml")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('state = "/var', 'state = "var', 'daemon.state: expected an absolute path, got "var/lib/signerd"'),
        (
            'certificate = "none"',
            'certificate = "/x"',
            "plugins.auth-peercred.certificate: expected a key in [conformance] certifiers that may have signed it",
        ),
        (
            "[limits]",
            '[conformance]\ncertifiers = ["key.pem"]\n[limits]',
            'conformance.certifiers: expected absolute paths, got "key.pem"',
        ),
        ('path = "/run', 'path = "run', "sockets.sign.path: expected an absolute path"),
        ('path = "/run', 'path = "/run/../tmp', "sockets.sign.path: expected a path without .."),
        ('path = "/run', 'path = "/' + "x" * 100, "sockets.sign.path: expected at most 107 bytes"),
        (
            "connections = 300",
            "connections = 255",
            "limits.connections_per_uid: expected at most limits.connections, which is 255",
        ),
        (
            "request_deadline_s = 10",
            "request_deadline_s = 121",
            "limits.request_deadline_s: expected at most limits.longest_deadline_s",
        ),
        (
            'backend = "soft"',
            'backend = "sofd"',
            'keys."file:one".backend: expected one of soft, hsm, got sofd',
        ),
        (
            'backend = "soft"',
            'backend = "hsm"',
            'keys."file:one".backend: expected a backend of scheme file, hsm is one of scheme pkcs11',
        ),
        (
            'tenant = "other"',
            'tenant = "othr"',
            'keys."file:two".tenant: expected one of acme, other, got othr',
        ),
        ('tenant = "other"', 'tenant = "acme"', "tenants.other.keys: file:two is the key of tenant acme"),
        (
            'tenant = "other"',
            'tenant = "acme"',
            'keys."file:two".tenant: expected file:two among tenants.acme.keys',
        ),
        (
            'keys = ["file:two"]',
            'keys = ["file:two", "file:three"]',
            "tenants.other.keys: expected keys that have a [keys] table, got file:three",
        ),
        (
            'keys = ["file:two"]',
            'keys = ["file:two", "file:two"]',
            "tenants.other.keys: expected each key once",
        ),
        (
            'default_key = "file:one"',
            'default_key = "file:two"',
            "tenants.acme.default_key: expected one of file:one",
        ),
        (
            'default_key = "file:one"',
            'default_key = "file:one"\ndefault_keys = { gold = "file:two" }',
            "tenants.acme.default_keys: expected keys out of file:one, pkcs11:token=a;object=b, got file:two",
        ),
        (
            'default_key = "file:one"\n',
            """default_key = "file:one"
default_keys.gold = "file:6"
[keys."file:6"]
backend = "soft"
tenant = "acme"
plans = ["tin"]
""",
            "tenants.acme.default_keys.gold: file:6 does not sign for this plan",
        ),
        (
            '[keys."file:one"]',
            '[keys."file:one"]\nfallback = "file:two"',
            'keys."file:one".fallback: expected another key of tenant acme, got file:two',
        ),
        (
            '[keys."file:one"]',
            '[keys."file:one"]\nfallback = "file:one"',
            'keys."file:one".fallback: expected another key of tenant acme, got file:one',
        ),
        ('default_key = "file:one"', "", "tenants.acme.default_key: missing; expected one of file:one"),
        (
            'predicates = ["https://cyc',
            'exempt_predicates = ["y"]\npredicates = ["https://cyc',
            "tenants.other.exempt_predicates: expected types of tenants.other.predicates, got y",
        ),
    ],
)
def test_what_does_not_fit_together(old, new, problem):
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1), "f.toml")
    found = [line.removeprefix("f.toml: ") for line in caught.value.problems]
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.parametrize(
    "reference",
    [
        "pkcs11:token=a;object=b?pin-value=98765",
        "pkcs11:token=a;object=b?module-name=m&pin-source=file:/98765",
        "pkcs11:pin-value=98765;object=b",
        "pkcs11:token=a;object=b?PIN-VALUE=98765",
    ],
)
def test_a_reference_with_a_pin_is_refused_and_not_repeated(reference):
    text = GOOD.replace("pkcs11:token=a;object=b", reference).replace("connections = 300", "connections = 1")
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert "expected references without pin-value and pin-source" in str(caught.value)
    assert "98765" not in str(caught.value)


def test_a_label_may_speak_of_a_pin():
    assert cross_problems(parse(GOOD.replace("object=b", "object=pin-value"), "f.toml")) == []


@pytest.mark.parametrize("value", ['"98765"', "98765"])
@pytest.mark.parametrize("place", ["pin", "password", "tool.containers.release.pin", "tool.'a b'.password"])
def test_a_pin_among_the_settings_of_a_backend_is_refused_and_not_repeated(place, value):
    given = GOOD.replace("[tenants.acme]", f"[backends.hsm.settings]\n{place} = {value}\n[tenants.acme]", 1)
    assert given != GOOD
    with pytest.raises(ConfigError) as caught:
        parse(given, "f.toml")
    shown = place.replace("'", '"')
    assert f"backends.hsm.settings.{shown}: expected none: a PIN or password lies in a file" in str(caught.value)
    assert "98765" not in str(caught.value)


ALICE, BOB = (SshSigner.make("ssh-ed25519").line for _ in range(2))
APPROVALS = f"""
[approvals]
operations = {{ "keys.revoke" = 2 }}
[[approvals.approvers]]
name = "alice"
key = "{ALICE} alice@example.com"
uid = 1001
[[approvals.approvers]]
name = "bob"
key = "{BOB}"
"""


def test_approvers_that_can_give_what_is_needed_fit():
    assert cross_problems(parse(GOOD + APPROVALS, "f.toml")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            '"keys.revoke" = 2',
            '"keys.revoke" = 3',
            'approvals.operations."keys.revoke": expected at most 2, the approvers with a key of their own, got 3',
        ),
        (BOB, ALICE + " bob", "approvals.approvers[1].key: expected each key once, it is that of approvers[0]"),
        (BOB, ALICE, 'approvals.operations."keys.revoke": expected at most 1'),
        ('"bob"', '"alice"', "approvals.approvers[1].name: expected each name once, alice is that of approvers[0]"),
        (BOB + '"', BOB + '"\nuid = 1001', "approvals.approvers[1].uid: expected each uid once, 1001 is that of"),
        (BOB, "no-touch-required " + BOB, "approvals.approvers[1].key: expected an OpenSSH public key"),
        (BOB, BOB[:-1], "approvals.approvers[1].key: expected an OpenSSH public key"),
    ],
)
def test_approvers_that_do_not_fit_together(old, new, problem):
    with pytest.raises(ConfigError) as caught:
        parse(GOOD + APPROVALS.replace(old, new, 1), "f.toml")
    found = [line.removeprefix("f.toml: ") for line in caught.value.problems]
    assert any(line.startswith(problem) for line in found), found


SOCKET = GOOD.replace(
    'scheme = "pkcs11"', 'scheme = "pkcs11"\nsocket = "/run/hsm/x.sock"\ncredential = "/etc/hsm.cred"'
)


def test_a_worker_at_a_socket_path_has_a_credential() -> None:
    assert cross_problems(parse(SOCKET, "f.toml")) == []
    assert cross_problems(parse(SOCKET.replace("/etc/hsm.cred", "hsm.cred"), "f.toml")) == []
    assert cross_problems(parse(SOCKET.replace("credential", "worker_uid = 0\ncredential"), "f.toml")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('credential = "/etc/hsm.cred"', "", "backends.hsm.credential: expected an absolute path or the name"),
        ('"/etc/hsm.cred"', '"etc/hsm.cred"', "backends.hsm.credential: expected an absolute path or the name"),
        ('"/etc/hsm.cred"', '"/etc/../hsm.cred"', "backends.hsm.credential: expected an absolute path or the name"),
        ('"/run/hsm/x.sock"', '"run/x.sock"', "backends.hsm.socket: expected an absolute path"),
        ('"/run/hsm/x.sock"', '"/run/hsm/"', "backends.hsm.socket: expected an absolute path"),
        ('"/run/hsm/x.sock"', '"/run/../x.sock"', "backends.hsm.socket: expected an absolute path"),
        ('"/run/hsm/x.sock"', f'"/{"x" * 107}"', "backends.hsm.socket: expected at most 107 bytes"),
        ('socket = "/run/hsm/x.sock"', "", "backends.hsm.credential: expected none without socket"),
        ('socket = "/run/hsm/x.sock"', "worker_uid = 1", "backends.hsm.worker_uid: expected none without socket"),
        ("credential =", "settings = { a = 1 }\ncredential =", "backends.hsm.settings: expected none with socket"),
        ("credential =", 'version = "1"\ncredential =', "backends.hsm.version: expected none with socket"),
        ("credential =", f'record = "{"0" * 64}"\ncredential =', "backends.hsm.record: expected none with socket"),
        (
            'scheme = "file"',
            'scheme = "file"\nsocket = "/run/hsm/x.sock"\ncredential = "soft"',
            'backends: expected a socket of its own for each, got "/run/hsm/x.sock" more than once',
        ),
    ],
)
def test_what_does_not_fit_a_worker_at_a_socket_path_is_told(old: str, new: str, problem: str) -> None:
    text = SOCKET.replace(old, new)
    assert text != SOCKET
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert any(line.startswith(f"f.toml: {problem}") for line in caught.value.problems), caught.value.problems


PUBLISHERS = """
[publishers.log]
plugin = "log-rekor"
kind = "log"
certificate = "none"
needed = true
settings = { shards = [] }
[publishers.tsa]
plugin = "stamp-rfc3161"
kind = "stamp"
certificate = "none"
"""


def test_publishers_that_fit_have_no_problem() -> None:
    text = GOOD.replace("[tenants.other]", '[tenants.other]\ntransparency = "required"\ntimestamp = true')
    config = parse(text + PUBLISHERS, "f.toml")
    assert [(p.name, p.kind, p.needed) for p in config.publishers] == [("log", "log", True), ("tsa", "stamp", True)]
    assert config.publishers[0].settings == {"shards": []}


@pytest.mark.parametrize(
    ("tenant", "old", "new", "problem"),
    [
        ('transparency = "async"', "needed = true", "needed = false", "tenants.other.transparency: expected none"),
        ("timestamp = true", 'kind = "stamp"', 'kind = "log"', "tenants.other.timestamp: expected false"),
        ("", 'kind = "stamp"', 'kind = "stamp"\nneeded = false', "publishers.tsa.needed: expected true"),
        ("", 'kind = "stamp"', 'kind = "witness"', "publishers.tsa.kind: "),
        ("", 'plugin = "log-rekor"', "", "publishers.log.plugin: "),
        ("", "settings = {", "setting = {", "publishers.log.setting: "),
        ('transparency = "later"', "needed = true", "", "tenants.other.transparency: "),
    ],
)
def test_what_does_not_fit_of_publishers_is_told(tenant: str, old: str, new: str, problem: str) -> None:
    text = GOOD.replace("[tenants.other]", f"[tenants.other]\n{tenant}") + PUBLISHERS.replace(old, new)
    with pytest.raises(ConfigError) as raised:
        parse(text, "f.toml")
    assert problem in str(raised.value)
