"""The pages are true: their examples are read, checked and run, their tables are what the types say, their links lead
somewhere."""

import json
import os
import pwd
import queue
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from outside.parts import ROOT
from running.authority import code_signing_authority
from running.daemon import RELEASE, Running
from signerd.attestation.log_entry import LogEntry
from signerd.cli.main import main as signerd
from signerd.contracts.services import Leaf
from signerd.daemon import faults, sealer_process
from signerd.daemon import main as front_end
from signerd.daemon.documents import QUEUE
from signerd.daemon.errands import LONGEST_S
from signerd.errors import SignerdError
from signerd.host import config_approvals, config_keyless, config_limits, config_model, config_trust, supervision
from signerd.host.config import parse
from signerd.pipeline.record import SUBJECTS_IN_RECORD, TEXT_IN_RECORD
from signerd.sealer import admin_leaves, checkpoint, group, later_leaves, leaves, lock, presence_leaf
from signerd.wire import links, ring
from signerd_client import Signer, SignRequest, Subject
from signerd_entitlement_file import plans
from signerd_key_file import settings as key_file
from signerd_release_allowlist import plugin as allowlist

CONFIGURATION, OPERATIONS = ROOT / "docs" / "configuration.md", ROOT / "docs" / "operations.md"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "conformance" / place / "README.md" for place in ("template", "examples/go")]
BIN = Path(sys.executable).parent
SBOM = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}'
DIGEST = "sha256:" + "0" * 64
ENTRY = LogEntry(bytes(32), 1, "hashedrekord", "0.0.2", b"{}", 0, None, None, None, 0, (), 0)
REPORT = {"report": {"format": "text", "digest": DIGEST}, "policy": {"digest": DIGEST, "viewSet": "all"}}


def section(page: Path, title: str) -> str:
    """The text under a heading, to the next of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {title}"
    return found[2]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


# Configuration.


def toml(kind: str) -> list[str]:
    """The TOML blocks whose first line is the comment ``# kind``."""
    found = blocks(CONFIGURATION, "toml")
    assert all(re.match(r"# (signerd|plans|releases)\.toml(, in part)?\n", text) for text in found)
    return [text for text in found if text.startswith(f"# {kind}\n")]


def test_the_page_is_what_the_generator_prints() -> None:
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "config-doc"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == CONFIGURATION.read_text(), "run scripts/config-doc > docs/configuration.md"
    assert "{{" not in printed


@pytest.fixture
def placed(tmp_path: Path) -> Callable[[str], str]:
    """Have an example of the page speak of this user and of a temporary directory, and put there what it names."""
    tmp_path.chmod(0o755)
    for name in ("etc", "run", "state"):
        (tmp_path / name).mkdir(mode=0o755)
    places = {"/etc/signerd": "etc", "/run/signerd": "run", "/var/lib/signerd": "state"}

    def at_home(text: str) -> str:
        for place, name in places.items():
            text = text.replace(place, str(tmp_path / name))
        return text.replace('user = "signerd"', f'user = "{pwd.getpwuid(os.geteuid()).pw_name}"')

    for name in ("plans", "releases"):
        (text,) = toml(f"{name}.toml")
        (tmp_path / "etc" / f"{name}.toml").write_text(text)
    password = tmp_path / "etc" / "umbra.password"
    password.touch(mode=0o600)
    password.write_bytes(b"secret\n")
    private = ec.generate_private_key(ec.SECP256R1())
    pem = tmp_path / "etc" / "umbra-reports.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    trust = tmp_path / "etc" / "trust"
    for name in ("fulcio", "tsa"):
        made = code_signing_authority(tmp_path / name)
        trust.mkdir(exist_ok=True)
        (trust / f"{name}-chain.pem").write_bytes(made.chain.read_bytes())
    for name in ("ct", "rekor"):
        (trust / f"{name}.pub").write_bytes(
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
    return at_home


@pytest.mark.parametrize("index", [0, 1])
def test_a_whole_example_is_accepted(
    index: int, placed: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = toml("signerd.toml")
    assert len(texts) == 2
    file = tmp_path / "signerd.toml"
    file.write_text(placed(texts[index]))
    file.chmod(0o600)
    assert signerd(["check", "--config", str(file)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == f"{file}: ok\n"
    assert parse(file.read_text(), str(file)).daemon.state == str(tmp_path / "state")


NONE = 'certificate = "none"\n'
TRUSTED = (config_trust.TrustedAuthority, config_trust.TrustedRekor, config_trust.TrustedService)
PARTS = {
    "plugins.auth-peercred": NONE,
    "plugins.entitlement-file": NONE,
    "plugins.release-allowlist": NONE,
    "plugins.predicates-intoto": NONE,
    "plugins.predicates-stella": NONE,
    "backends.file": NONE + 'scheme = "file"\nsettings = { directory = "/var/lib/signerd/keys" }\n',
    "tenants.local": 'keys = ["file:default"]\n',
    'keys."file:default"': 'backend = "file"\ntenant = "local"\n',
    "approvals": "",
    "sockets.admin": "",
    "trust": "",
}
"""A configuration in its parts: an example that shows one part of its own gets the others from here."""


@pytest.mark.parametrize("shown", toml("signerd.toml, in part"))
def test_a_part_of_an_example_is_accepted_among_the_others(
    shown: str, placed: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [f"[{name}]\n{text}" for name, text in PARTS.items() if f"[{name}" not in shown]
    assert len(missing) < len(PARTS)
    file = tmp_path / "signerd.toml"
    file.write_text(placed("\n".join(missing) + shown))
    file.chmod(0o600)
    assert signerd(["check", "--config", str(file)]) == 0, capsys.readouterr().err
    backends = tomllib.loads(file.read_text())["backends"]
    key_file.understand(backends["file"]["settings"])  # ValueError: check leaves that to its worker


def test_the_workstation_signs(
    placed: Callable[[str], str], tmp_path: Path, daemon_factory: Callable[..., Running]
) -> None:
    text = toml("signerd.toml")[0]
    daemon = daemon_factory(tmp_path, config=placed(text))
    (digest,) = re.findall("sha256:[0-9a-f]{64}", text)
    with Signer.connect(daemon.socket) as signer:
        assert signer.sign_dsse(asked("https://cyclonedx.org/bom", SBOM, digest)).bundles


def asked(kind: str, predicate: bytes, digest: str) -> SignRequest:
    subject = [Subject("app.tar.gz", {"sha256": "1" * 64})]
    return SignRequest(subject=subject, predicate_type=kind, predicate=predicate, scanner_image_digest=digest)


@pytest.mark.parametrize("tenant", ["acme", "umbra"])
def test_the_two_tenants_are_served_as_the_page_says(
    tenant: str, placed: Callable[[str], str], tmp_path: Path, daemon_factory: Callable[..., Running]
) -> None:
    text = placed(toml("signerd.toml")[1])
    for name, uid in (("acme", "1001"), ("umbra", "1002")):
        text = re.sub(rf"\b{uid}\b", str(os.geteuid() + (name != tenant)), text)
    daemon = daemon_factory(tmp_path, config=text)
    with_version, too_old, unproved = re.findall("sha256:[0-9a-f]{64}", toml("releases.toml")[0])
    report = json.dumps(REPORT).encode()
    # The page's daemon has a user of its own, whom its callers name.
    with Signer.connect(daemon.socket, server_uid=os.geteuid()) as signer:
        session = signer.bind()
        assert session.tenant == tenant
        (key,) = signer.keys().keys
        if tenant == "acme":
            assert (key.key, session.principal) == ("file:acme-2026", "build-service")
            assert signer.sign_dsse(asked("https://cyclonedx.org/bom", SBOM, with_version)).bundles
            for digest, reason in ((too_old, "outside_window"), (unproved, "version_unproved")):
                with pytest.raises(SignerdError) as caught:
                    signer.sign_dsse(asked("https://cyclonedx.org/bom", SBOM, digest))
                assert (caught.value.code, caught.value.details["reason"]) == ("entitlement.version_window", reason)
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(asked("report", report, with_version))
            assert caught.value.code == "predicate.unsupported"
            with pytest.raises(SignerdError) as caught:
                signer.describe("file:umbra-reports")
            assert caught.value.code == "key.not_found"
        else:
            assert (key.key, session.principal) == ("file:umbra-reports", "scanner")
            assert signer.sign_dsse(asked("report", report, unproved)).bundles
            assert set(session.scopes) == {"signer.sign", "signer.keys"}


def names_of(cls: Any, before: str) -> set[str]:
    return {f"{before}{field.name}" for field in msgspec.structs.fields(cls)}


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("auth-peercred", {"uids", "callers", "callers.UID.tenant", "callers.UID.principal", "callers.UID.scopes"}),
        (
            "entitlement-file",
            {"file", *names_of(plans._Plan, "plans.NAME."), *names_of(plans._Tenant, "tenants.NAME.")},
        ),
        ("release-allowlist", names_of(allowlist._Settings, "") | names_of(allowlist._Entry, "releases[].")),
        ("predicates-intoto", set()),
        ("predicates-stella", {"predicate_uri"}),
        ("key-file", {*(key_file._KNOWN - {"keys"}), "keys.NAME", "keys.NAME.path", "keys.NAME.credential"}),
    ],
)
def test_the_settings_of_a_plugin_are_all_there(title: str, keys: set[str]) -> None:
    listed = first_column(section(CONFIGURATION, title))
    assert len(listed) == len(set(listed))
    assert set(listed) == keys


def test_every_section_of_the_file_has_its_table() -> None:
    sections = {
        "daemon": config_model.Daemon,
        "sockets.sign": config_model.Socket,
        "limits": config_limits.Limits,
        "conformance": config_model.Conformance,
        "plugins.NAME": config_model.Plugin,
        "backends.NAME": config_model.Backend,
        "publishers.NAME": config_model.Publisher,
        "tenants.NAME": config_model.Tenant,
        'keys."REF"': config_model.Key,
        "approvals": config_approvals.Approvals,
        "trust": config_trust.Trust,
        "verification": config_trust.Verification,
    }
    named_otherwise = {"approvals": {"approvers"}, "plugins.NAME": {"name", "settings"}}
    for title, cls in sections.items():
        of_the_header = named_otherwise.get(title, {"name", "key"})
        listed = set(first_column(section(CONFIGURATION, title)))
        if title == 'keys."REF"':  # a table within has one of its own there
            assert names_of(config_keyless.Keyless, "") <= listed
            listed -= names_of(config_keyless.Keyless, "")
        if title == "approvals":  # its array of tables has one of its own there
            assert names_of(config_approvals.Approver, "") <= listed
            listed -= names_of(config_approvals.Approver, "")
        if title == "trust":
            of_tables = set[str]().union(*(names_of(each, "") for each in TRUSTED))
            assert of_tables <= listed
            listed -= of_tables
        assert names_of(cls, "") - of_the_header == listed, title
    assert len(sections) == len(config_model.Config.__struct_fields__) - 1  # the file's own name is no section


def test_the_built_in_plans_are_as_the_page_says() -> None:
    text = " ".join(section(CONFIGURATION, "entitlement-file").split())
    own, anybody = plans.BUILT_IN["embedded"], plans.BUILT_IN["default"]
    assert f"`embedded` ({own.concurrency} at once, {own.size >> 20} MiB)" in text
    assert (
        f"`default` ({anybody.concurrency} at once, {anybody.size >> 20} MiB, {anybody.rate:g} a second with a burst "
        f"of {anybody.burst}, {anybody.daily:,} a day)"
    ) in text


# What a reader types.


class Shell:
    """A bash that keeps its state from command to command, as a reader's does."""

    MARK = "= the command has ended ="

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SIGNERD_", "XDG_", "PYTHON"))}
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), **environment},
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # Job control, so that %1 is the first job; bash says nothing of jobs to one that is not interactive.
        self._type("set -m")

    def run(self, command: str, expected: str) -> None:
        """Type the command, and compare all that is said until it ends; what runs on says it in its own time."""
        self._type(f"{command}\nprintf '%s\\n' '{self.MARK}'")
        said, until, ended = "", time.monotonic() + 60, False
        while not (ended and (not command.endswith("&") or fits(said, expected))):
            assert time.monotonic() < until, f"{command}\nsaid\n{said}\ninstead of\n{expected}"
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                continue
            if line == f"{self.MARK}\n":
                ended = True
            else:
                said += line
        assert fits(said, expected), f"{command}\nsaid\n{said}\ninstead of\n{expected}"

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text + "\n")
        self._bash.stdin.flush()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._type("kill $(jobs -p) 2>/dev/null; wait; exit")
        self._bash.wait(40)
        self._reader.join(10)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.stdout.close()


def fits(said: str, expected: str) -> bool:
    """Whether that was said: ``…`` in a line stands for any text, a line of it alone for any lines."""
    lines = [re.escape(line).replace("…", ".*") + "\n" for line in expected.splitlines()]
    return re.fullmatch("".join("(?:.*\n)*" if line == ".*\n" else line for line in lines), said) is not None


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command with what is said to it; a line that begins with ``> `` goes on with the command before."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        length = 1 + next((n for n, line in enumerate(lines[1:]) if not line.startswith("> ")), len(lines) - 1)
        yield "".join(line.removeprefix("> ") for line in lines[:length]).rstrip("\n"), "".join(lines[length:])


def type_all(shell: Shell, page: Path) -> int:
    typed = 0
    for block in blocks(page, "console"):
        assert block.startswith("$ ")
        for command, expected in commands(block):
            shell.run(command, expected)
            typed += 1
    return typed


def supplied(folder: Path) -> Path:
    (folder / "app.tar.gz").write_bytes(b"the artefact")
    (folder / "sbom.cdx.json").write_bytes(SBOM)
    return folder


def test_what_the_readme_has_a_newcomer_type(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    with Shell(supplied(tmp_path), {"XDG_RUNTIME_DIR": str(tmp_path / "run")}) as shell:
        assert type_all(shell, ROOT / "README.md") == 6
    assert (tmp_path / ".local/state/signerd/audit.sqlite").exists()


def test_what_the_configuration_has_one_type(tmp_path: Path, placed: Callable[[str], str]) -> None:
    (tmp_path / "signerd.toml").write_text(placed(toml("signerd.toml")[0]))
    with Shell(tmp_path, {}) as shell:
        assert type_all(shell, CONFIGURATION) == 1


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Type what the page of operations shows, to a daemon of our own; the leaves that were written meanwhile."""
    folder = supplied(tmp_path_factory.mktemp("operated"))
    (folder / "daemon").mkdir()
    daemon = Running(folder / "daemon")
    try:
        daemon.wait_ready()
        environment = {
            "SIGNERD_SOCKET": str(daemon.socket),
            "STATE_DIRECTORY": str(daemon.state),
            "DAEMON": str(daemon.pid),
            "TOOL": RELEASE,
        }
        with Shell(folder, environment) as shell:
            type_all(shell, OPERATIONS)
            for _ in range(2):  # a count of one is left out of a leaf, as anything empty is
                shell.run("signerctl keys file:nobody 2>/dev/null", "")
        assert daemon.terminate() == 0
        yield [json.loads(str(leaf["leaf"], "utf-8")) for leaf in daemon.leaves()]  # type: ignore[call-overload]  # bytes
    finally:
        daemon.close()


def shape(value: object) -> object:
    """What a JSON value looks like, whatever it says: keys, and the form of texts."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        digest = re.fullmatch(r"(sha256:)?[0-9a-f]{64}", value)
        return f"{digest[1] or ''}64 hex digits" if digest else "text"
    return type(value).__name__


def test_the_leaves_shown_are_such_as_are_written(operated: list[dict[str, Any]]) -> None:
    for leaf in operated:
        leaf.get("request", {}).get("peer", {}).pop("unit", None)  # there or not, as whoever runs the tests was started
    given = ("id", ("fido2:alice", f"sha256:{DIGEST[7:]}"), ("local", "uid:1"), (DIGEST[7:], DIGEST[7:]), 1, b"", 1)
    made = [*later(), presence_leaf.presence_leaf(*given)]
    operated = [*operated, *[json.loads(leaf.text) for leaf in made]]
    written = [(leaf["kind"], leaf.get("outcome"), shape(leaf)) for leaf in operated]
    shown = [json.loads(block) for block in blocks(OPERATIONS, "json")]
    for leaf in shown:
        assert (leaf["kind"], leaf.get("outcome"), shape(leaf)) in written, leaf["kind"]
    assert {leaf["kind"] for leaf in shown} == {leaf["kind"] for leaf in operated}


def later() -> list[Leaf]:
    """Leaves about records that have ended."""
    named = ("id", "local", "rekor", f"sha256:{DIGEST[7:]}", DIGEST[7:])
    entry = later_leaves.FoundEntry(DIGEST[7:], f"sha256:{DIGEST[7:]}", DIGEST[7:], 4)
    return [
        later_leaves.published_leaf(*named, ENTRY, 1),
        later_leaves.unpublished_leaf(*named, 2024, 1),
        later_leaves.looked_up_leaf("id", "local", "rekor", later_leaves.LookedUp("found", (entry,), 0, 9), 1),
    ]


LEAVES: list[tuple[str, list[type[msgspec.Struct]]]] = [
    ("admin", [admin_leaves._Admin, ring.Grant]),
    ("approval", [admin_leaves._Approval]),
    ("decided", [leaves._Decided, links.DecisionFacts, links.ReleaseFacts, links.RequestFacts, links.PeerFacts]),
    ("outcome", [leaves._Outcome, leaves.KeylessSigner]),
    ("looked_up", [later_leaves._LookedUp, later_leaves.FoundEntry]),
    ("published", [later_leaves._Published]),
    ("unpublished", [later_leaves._Unpublished]),
    ("refused", [leaves._Refused]),
    ("ring", [admin_leaves._Ring, ring.RingEntry]),
    ("start", [leaves._Start, leaves.PluginFacts]),
]


def test_every_kind_of_leaf_is_explained() -> None:
    known = [value for module in (leaves, admin_leaves, later_leaves) for value in vars(module).values()]
    structs = {each for each in known if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    kinds = {cls for cls in structs if {"kind", "v"} <= {field.name for field in msgspec.structs.fields(cls)}}
    assert kinds == {cls for _, shown in LEAVES for cls in shown} & kinds


@pytest.mark.parametrize(("title", "structs"), LEAVES)
def test_every_field_of_a_leaf_is_explained(title: str, structs: Sequence[type[msgspec.Struct]]) -> None:
    text = section(OPERATIONS, title) + section(OPERATIONS, "The leaves")
    told = set(re.findall(r"`([a-z_0-9]+)`", text))
    wanted = {field.name for cls in structs for field in msgspec.structs.fields(cls)}
    assert wanted <= told | {"tenant"}, wanted - told


def test_the_numbers_that_matter_are_those_of_the_code() -> None:
    text = section(OPERATIONS, "Numbers that matter")
    limits = config_limits.Limits()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE))
    hung = 2 * limits.audit_write_s + limits.worker_call_software_s
    assert rows["audit write"] == f"{limits.audit_write_s:g} s"
    assert rows["sealer taken for hung"] == f"{hung:g} s"
    assert rows["write-ahead log"] == f"copied every {checkpoint.LEAVES:,} leaves"
    assert rows["outcome"] == f"up to {group.OUTCOME_S * 1000:g} ms"
    assert rows["drain"] == f"{front_end.DRAIN_S:g} s"
    assert rows["sealer's end"] == f"{sealer_process.END_S:g} s"
    assert rows["lock"] == f"{lock.LOCK_WAIT_S:g} s"
    assert rows["key worker's start"] == f"{supervision.START_LIMIT:g} s"
    assert rows["restarts"] == f"{limits.worker_backoff_first_s:g} s to {limits.worker_backoff_longest_s:g} s"
    assert rows["document worker"] == f"{LONGEST_S:g} s"
    assert rows["descriptors"] == f"{front_end.MOST_OPEN:,}"
    assert f"at most {faults.MOST_LINES} different ones" in section(OPERATIONS, "Is it well?")
    assert f"{QUEUE} more may wait" in text
    whole = OPERATIONS.read_text()
    assert f"the first {SUBJECTS_IN_RECORD} `subjects`" in whole
    assert f"the first {TEXT_IN_RECORD} characters" in whole


# Pages and what they point to.


def test_security_names_every_threat_that_a_test_plays_and_no_other() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    played = {path.name for path in (ROOT / "tests" / "threats").glob("test_*.py")}
    rows = re.findall(r"^\| T(\d+) \|.*\| \[t(\d+)\]\(tests/threats/(test_t\d+_\w+\.py)\) \|$", text, re.MULTILINE)
    assert {name for *_, name in rows} == played
    assert set(re.findall(r"test_t\d+_\w+\.py", text)) == played
    for number, shown, name in rows:
        assert name.startswith(f"test_t{int(number):02}_")
        assert int(shown) == int(number)


def test_security_accounts_for_every_threat() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert {int(number) for number in re.findall(r"\bT(\d+)\b", text)} == set(range(1, 28))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as they are linked to."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{target} of {page.name}"
        if anchor:
            assert anchor in anchors(file), f"#{anchor} of {page.name}"


def test_the_files_to_read_are_there_and_in_this_order() -> None:
    text = section(ROOT / "README.md", "Where to read on")
    walk = re.findall(r"^\d\. `([\w/.]+)`", text, re.MULTILINE)
    assert [Path(name).name for name in walk] == [
        "hookspecs.py", "providers.py", "sign.py", "seal.py", "connection.py", "main.py",
    ]  # fmt: skip
    assert all((ROOT / name).exists() for name in walk)


def test_the_readme_leads_to_every_page() -> None:
    text = section(ROOT / "README.md", "Where to read on")
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert sorted(set(re.findall(r"\]\(docs/([\w-]+\.md)\)", text))) == pages


@pytest.mark.parametrize("name", ["configuration", "operations", "protocol"])
def test_a_page_lists_all_its_sections(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / f"{name}.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    contents, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    titles = [section.partition("\n")[0] for section in sections]
    expected = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert re.findall(r"\]\(#([^)]+)\)", contents.partition("\n- ")[2]) == expected


def test_the_decisions_are_all_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    for name in listed:
        text = (folder / name).read_text()
        for part in ("Context", "Decision", "Consequence", "What would change it"):
            assert f"\n**{part}.** " in text, f"{name}: {part}"
