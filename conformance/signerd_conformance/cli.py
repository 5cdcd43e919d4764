"""``signerd-conformance``: ``check`` judges anybody's bundle by the byte rules, ``backend`` anybody's key worker by
the worker protocol, ``contract`` a policy plugin by its own tests' contract classes, one line a rule or case;
``vectors`` prints test vectors.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP
from signerd.errors import SignerdError
from signerd.host.certificate import Case as Judged
from signerd.host.credential import read_credential
from signerd.host.distribution import find_entry, verify
from signerd.verification.bundle import printable
from signerd.verification.keys import PublicKey
from signerd_conformance import __version__
from signerd_conformance.backend import CASES, CASES_AT_SOCKET, judge
from signerd_conformance.backend import Judged as Finding
from signerd_conformance.bench import Bench
from signerd_conformance.check import RULES, check
from signerd_conformance.classes import judged_by_classes
from signerd_conformance.evidence import Evidence
from signerd_conformance.issuing import Issuing, add_options, begin
from signerd_conformance.vectors.areas import AREAS, text_of
from signerd_conformance.worker import PLACE, AtSocket, Start

__all__ = ["main"]

_LARGEST_KEY: Final = 64 * 1024
_LARGEST_SETTINGS: Final = 4 * 1024 * 1024
_EVERY: Final = tuple(dict.fromkeys((*CASES, *CASES_AT_SOCKET)))
_NAMES: Final = [case.name for case in _EVERY]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 for usage or an unreadable file, 6 where a rule is broken."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if given[:1] in (["backend"], ["contract"]) and "--" in given:
        # By hand: what follows belongs to another program, dashes and all.
        at = given.index("--")
        given, command = given[:at], given[at + 1 :]
    options = _parser().parse_args(given)
    if options.rules is AREAS:
        return _vectors(options)
    if options.list:
        for rule in options.rules:
            print(f"{rule.name:<18} {rule.source}")
        return 0
    if options.rules is RULES:
        return _check(options)
    try:
        return _backend(options, command) if options.rules is _EVERY else _contract(options, command)
    except (OSError, ValueError, SignerdError) as exc:
        print(f"signerd-conformance {given[0]}: {printable(str(exc))}", file=sys.stderr)
        return 2


def _check(options: argparse.Namespace) -> int:
    if not options.bundle:
        print("signerd-conformance check: a BUNDLE is needed", file=sys.stderr)
        return 2
    try:
        key = _key(options.key) if options.key else None
        digests = _digests(options.subject) if options.subject else {}
        texts = [(path, _bounded(path, LARGEST_BUNDLE)) for path in options.bundle]
    except (OSError, SignerdError) as exc:
        print(f"signerd-conformance check: {printable(str(exc))}", file=sys.stderr)
        return 2
    broken = False
    for path, text in texts:
        if len(texts) > 1:
            print(f"# {printable(str(path))}")
        for finding in check(Evidence.read(text, key=key, digests=digests, strict=options.profile == "signerd")):
            _print(finding.status, finding.rule.name, finding.seen, finding.rule.source)
            broken = broken or finding.status == "FAIL"
    return 6 if broken else 0


def _backend(options: argparse.Namespace, command: Sequence[str]) -> int:
    if not (command or options.socket) or not options.key:
        print("signerd-conformance backend: -- CMD and at least one --key REF are needed", file=sys.stderr)
        return 2
    at_socket = _at_socket(options, command) if options.socket or options.credential else None
    cases = [case for case in (CASES_AT_SOCKET if at_socket else CASES) if case.name in (options.case or _NAMES)]
    if not cases:
        raise ValueError("no such case for a worker reached in this way")
    schemes = {reference.partition(":")[0] for reference in options.key}
    if options.sign and (options.case or len(schemes) != 1):
        raise ValueError("--sign certifies one scheme by every case: no --case, and keys of one scheme")
    issuing = begin(options, KEY_BACKENDS_GROUP, min(schemes))
    settings = _bounded(options.settings, _LARGEST_SETTINGS) if options.settings else None
    start = Start(tuple(command), settings, options.timeout, at_socket=at_socket)
    bench = Bench(start, tuple(options.key), options.generate, options.rp_id, options.origin)
    findings = judge(bench, cases)
    if options.report:
        options.report.write_text(_report(bench, findings), "utf-8")
    for finding in findings:
        _print(finding.status, finding.case.name, finding.seen, finding.case.source)
    results = [Judged(one.case.name, one.status, one.case.optional) for one in findings]
    return _ended(results, issuing, "worker-protocol")


def _at_socket(options: argparse.Namespace, command: Sequence[str]) -> AtSocket:
    if command or not options.socket or not options.credential:
        raise ValueError("either -- CMD, or --socket PATH with --credential FILE")
    if options.sign:
        raise ValueError("--sign needs -- CMD: nobody can say which files a worker at a socket path runs")
    credential = read_credential(os.path.abspath(options.credential))
    return AtSocket(os.path.abspath(options.socket), credential, options.worker_uid)


def _contract(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    issuing = begin(options, PLUGINS_GROUP, options.name)
    entry = find_entry(PLUGINS_GROUP, options.name)
    dist = verify(entry, development=False)
    cases, file = judged_by_classes(entry.module, arguments)
    if file and file not in dist.files:
        raise ValueError(f"the tests import {file}, which is no file of the installed {dist.name}")
    for case in cases:
        _print(case.result, case.name, "", "signerd_conformance.contracts")
    if not cases:
        raise ValueError(f"no contract class of the tests has judged {entry.module}")
    return _ended(cases, issuing, "contract-classes")


def _ended(cases: Sequence[Judged], issuing: Issuing | None, contract: str) -> int:
    sys.stdout.flush()
    certified = issuing is None or issuing.finish(cases, contract)
    return 6 if not certified or any(case.result == "FAIL" for case in cases) else 0


def _vectors(options: argparse.Namespace) -> int:
    if options.list:
        for area in AREAS:
            print(f"{area:<18} {json.loads(text_of(area))['comment']}")
    elif options.area:
        print(text_of(options.area), end="")
    else:
        print(json.dumps({area: json.loads(text_of(area)) for area in AREAS}, indent=1))
    return 0


def _print(status: str, name: str, seen: str, source: str) -> None:
    print(f"{status:<4}  {name:<18}  {seen}{f'  [{source}]' if status == 'FAIL' else ''}")


def _report(bench: Bench, findings: Sequence[Finding]) -> str:
    """Return the findings as JSON: what was judged, by which kit, and each case with its source."""
    known = [key for reference in bench.keys if (key := bench.known(reference)) is not None]
    cases = [
        {"name": one.case.name, "status": one.status, "seen": one.seen, "source": one.case.source} for one in findings
    ]
    return (
        json.dumps(
            {
                "kit": f"signerd-conformance/{__version__}",
                "command": _command(bench.start),
                "keys": [
                    {"key": key.reference, "algorithm": key.algorithm, "keyid": key.public.keyid}
                    for key in known
                ],
                "host": f"{platform.system()} {platform.release()} {platform.machine()}",
                "cases": cases,
            },
            indent=1,
        )
        + "\n"
    )


def _command(start: Start) -> Sequence[str]:
    return start.command if start.at_socket is None else ("--socket", start.at_socket.path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="signerd-conformance",
        description="Judge what signers and plugins made by the rules published for it.",
    )
    parser.add_argument("--version", action="version", version=f"signerd-conformance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    judged = commands.add_parser(
        "check",
        help="judge Sigstore bundles by the byte rules",
        description="Judge Sigstore bundles: one line a rule, ok, FAIL or skip, its name, what was seen.",
        epilog="Exit codes: 0 no rule is broken, 2 usage or an unreadable file, 6 a rule is broken.",
    )
    judged.set_defaults(rules=RULES)
    judged.add_argument("bundle", nargs="*", type=Path, metavar="BUNDLE", help="a bundle file")
    judged.add_argument("--subject", type=Path, metavar="FILE", help="the artefact that the bundles are about")
    judged.add_argument("--key", type=Path, metavar="PEM", help="the public key that signed them")
    judged.add_argument(
        "--profile",
        choices=("interop", "signerd"),
        default="interop",
        help="interop: what every bundle must keep to (default); signerd: what signerd itself adds to that",
    )
    judged.add_argument(
        "--list-rules", dest="list", action="store_true", help="list every rule with its source, and exit"
    )
    _add_backend(
        commands.add_parser(
            "backend",
            usage="%(prog)s [options] --key REF [--key REF ...] (-- CMD ... | --socket PATH --credential FILE)",
            help="judge a key worker by the worker protocol",
            description="Start CMD several times, speak the worker protocol to it (docs/protocol.md) and judge it: one "
            "line a case, ok, FAIL or skip, its name, what was seen.",
            epilog=f"CMD finds a connected Unix stream socket at descriptor N: {PLACE} in its arguments becomes N, and "
            "where none has it, --fd N is appended. It must be the worker itself, or exec it. Its standard error is "
            "passed on. Exit codes: 0 no case failed, 2 usage, 6 a case failed or --sign made no certificate.",
        )
    )
    _add_contract(commands)
    _add_vectors(commands)
    return parser


def _add_contract(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    plugin = commands.add_parser(
        "contract",
        usage="%(prog)s [options] NAME -- [PYTEST ARGUMENT ...]",
        help="judge a policy plugin by the contract classes in its tests",
        description="Run pytest with what follows -- and judge the plugin of the entry point NAME by the contract "
        "classes that its tests subclass: one line a case after pytest's own, ok, FAIL or skip, and its name.",
        epilog="Exit codes: 0 no case failed, 2 usage or no class judges it, 6 a case failed or --sign made no "
        "certificate.",
    )
    plugin.set_defaults(rules=(), list=False)
    plugin.add_argument("name", metavar="NAME", help="the name of the plugin's entry point")
    add_options(plugin, binary=False)


def _add_vectors(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    printed = commands.add_parser(
        "vectors",
        help="print test vectors, for implementations in any language",
        description="Print test vectors as JSON (ASCII): all areas in one object, or one area. Each says what it is "
        "about in its comment, what must come of each input in accept, and what must be refused in refuse.",
    )
    printed.set_defaults(rules=AREAS)
    printed.add_argument("--area", choices=AREAS, metavar="NAME", help="this area alone")
    printed.add_argument("--list", action="store_true", help="list the areas with what they are about, and exit")


def _add_backend(judged: argparse.ArgumentParser) -> None:
    judged.set_defaults(rules=_EVERY)
    judged.add_argument("--key", action="append", metavar="REF", help="a key of the worker; may be repeated")
    judged.add_argument("--socket", metavar="PATH", help="judge a worker that listens there, instead of CMD")
    judged.add_argument("--credential", type=Path, metavar="FILE", help="with --socket: what it shares with its client")
    judged.add_argument(
        "--worker-uid", type=int, default=os.geteuid(), metavar="N", help="with --socket: who it runs as (default: you)"
    )
    judged.add_argument(
        "--generate", metavar="ALG", help="have a key that is not there made first, for this algorithm (ES256, ...)"
    )
    judged.add_argument("--rp-id", default="", metavar="ID", help="of keys of a FIDO2 authenticator: the relying party")
    judged.add_argument("--origin", default="", metavar="URL", help="of the same: the origin of WebAuthn's assertions")
    judged.add_argument("--settings", type=Path, metavar="FILE", help="what CMD finds on standard input; else nothing")
    judged.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="S", help="the longest that an answer may take (default 10)"
    )
    judged.add_argument(
        "--case", action="append", choices=_NAMES, metavar="NAME", help="judge by this case alone; may be repeated"
    )
    judged.add_argument("--report", type=Path, metavar="FILE", help="write the findings there, as JSON")
    add_options(judged, binary=True)
    judged.add_argument(
        "--list-cases", dest="list", action="store_true", help="list every case with its source, and exit"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _bounded(path: Path, most: int) -> bytes:
    """Read a file, one byte beyond ``most`` at the furthest: enough to see that it is too large."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _key(path: Path) -> PublicKey:
    return PublicKey.from_pem(_bounded(path, _LARGEST_KEY))


def _digests(path: Path) -> dict[str, str]:
    hashes = [hashlib.sha256(), hashlib.sha384(), hashlib.sha512()]
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for one in hashes:
                one.update(piece)
    return {one.name: one.hexdigest() for one in hashes}
