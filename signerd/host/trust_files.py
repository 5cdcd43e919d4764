"""Reads the files that ``[trust]`` and ``[verification]`` name, and says everything that is wrong with them at once.

The front end imports this at its start: what parses the files is imported where there is a file to parse.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from signerd.errors import SignerdError
from signerd.host.config import ConfigError
from signerd.host.config_model import Config
from signerd.host.config_trust import TrustedAuthority, TrustedLog, TrustedService
from signerd.host.owned_file import read_owned

if TYPE_CHECKING:
    from signerd.verification.trust_parts import AuthorityPart, LogPart, Parts, ServicePart

__all__ = ["Against", "read_against", "read_parts"]

T = TypeVar("T")

MOST_BYTES: Final = 2 * 1024 * 1024
"""Of root and policies together: they are handed to the worker that verifies as its settings."""
_LARGEST_PEM: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Against:
    """What callers' bundles are verified against: the bytes of the trusted root, empty where there is none, and those
    of the policies by their ids."""

    trusted_root: bytes = b""
    policies: dict[str, bytes] = field(default_factory=dict)


class _Files:
    """Files of one configuration; ``problems`` has a line for each that cannot be used."""

    def __init__(self, config: Config) -> None:
        self._source = config.source or "embedded defaults"
        self.problems: list[str] = []

    def read(self, where: str, path: str, most: int, parse: Callable[[bytes], T]) -> tuple[bytes, T] | None:
        try:
            raw = read_owned(Path(path), most)
            return raw, parse(raw)
        except SignerdError as error:
            self.problem(where, f"{path}: {error.public} ({error.reason})")
        except ValueError as error:
            self.problem(where, f"{path}: {error}")
        return None

    def problem(self, where: str, expectation: str) -> None:
        self.problems.append(f"{self._source}: {where}: {expectation}")

    def require(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)


def read_against(config: Config) -> Against:
    """Read and parse what ``[verification]`` names. Raises ConfigError: a file that cannot be read or used, an id that
    two policies have, more than 2 MiB in all."""
    named = config.verification
    if not named.trusted_root and not named.policies:
        return Against()
    from signerd.verification.policy import LARGEST_POLICY, parse_policy
    from signerd.verification.trusted_root import parse_trusted_root

    files = _Files(config)
    root, policies, size = b"", dict[str, bytes](), 0
    if named.trusted_root:
        found = files.read("verification.trusted_root", named.trusted_root, MOST_BYTES, parse_trusted_root)
        root = b"" if found is None else found[0]
        size += len(root)
    for path in named.policies:
        read = files.read("verification.policies", path, LARGEST_POLICY, parse_policy)
        if read is None:
            continue
        raw, policy = read
        if policies.setdefault(policy.policy_id, raw) is not raw:
            files.problem("verification.policies", f"{path}: expected each policyId once, got {policy.policy_id} again")
        size += len(raw)
    if size > MOST_BYTES:
        files.problem("verification", f"expected root and policies of at most {MOST_BYTES} bytes together, got {size}")
    files.require()
    return Against(root, policies)


def read_parts(config: Config) -> "Parts":
    """Read and parse what ``[trust]`` names. Raises ConfigError: a file that cannot be read, is no key or no chain."""
    from signerd.verification.trust_parts import Parts

    files = _Files(config)
    trust = config.trust
    fulcio = [_authority(files, f"trust.fulcio[{i}]", each) for i, each in enumerate(trust.fulcio)]
    ct_logs = [_log(files, f"trust.ct_logs[{i}]", each) for i, each in enumerate(trust.ct_logs)]
    rekor = [_log(files, f"trust.rekor[{i}]", each, each.origin) for i, each in enumerate(trust.rekor)]
    tsa = [_authority(files, f"trust.tsa[{i}]", each) for i, each in enumerate(trust.tsa)]
    files.require()
    return Parts(
        trust.operator, _all(fulcio), _all(ct_logs), _all(rekor), _all(tsa), [_service(each) for each in trust.oidc]
    )


def _all(parts: Sequence[T | None]) -> list[T]:
    return [part for part in parts if part is not None]


def _service(named: TrustedService) -> "ServicePart":
    from signerd.verification.trust_parts import ServicePart

    return ServicePart(named.url, named.since, named.until)


def _authority(files: _Files, where: str, named: TrustedAuthority) -> "AuthorityPart | None":
    from signerd.verification.trust_parts import AuthorityPart, read_chain

    found = files.read(f"{where}.chain", named.chain, _LARGEST_PEM, read_chain)
    return None if found is None else AuthorityPart(named.url, named.since, named.until, found[1])


def _log(files: _Files, where: str, named: TrustedLog, origin: str = "") -> "LogPart | None":
    from signerd.verification.keys import PublicKey
    from signerd.verification.trust_parts import LogPart

    found = files.read(f"{where}.key", named.key, _LARGEST_PEM, PublicKey.from_pem)
    return None if found is None else LogPart(named.url, named.since, named.until, found[1], origin)
