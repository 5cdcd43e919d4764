"""Entry point: the release check over a list of digests.

Settings: ``releases``, an array of tables ``{digest = "sha256:…", version = "2026.11"}`` (``version`` may be
left out: such an entry proves none), or ``file``, the absolute path of a TOML file that holds the same array
and is read again when it changes.
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from signerd.contracts import hookimpl
from signerd.contracts.hookspecs import Settings
from signerd.contracts.values import Principal, Release
from signerd.errors import Fault, Refusal

__all__ = ["AllowList", "signerd_release_checks"]

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SAME: Final = (-1, -1, -1)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
    version: Annotated[str, Meta(pattern=r"^[0-9]{4}\.(0[1-9]|1[0-2])\Z")] | None = None


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    releases: tuple[_Entry, ...] = ()


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    releases: tuple[_Entry, ...] = ()
    file: Annotated[str, Meta(pattern="^/")] | None = None


def _by_digest(entries: Sequence[_Entry]) -> dict[str, Release]:
    listed: dict[str, Release] = {}
    for entry in entries:
        if entry.digest in listed:
            raise ValueError(f"releases: {entry.digest} stands there twice")
        listed[entry.digest] = Release(entry.digest, "allowlist", entry.version)
    return listed


class _File:
    """A list in a file; a change is seen by the next call, and a file that cannot be used clears nobody."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _SAME
        self._listed: dict[str, Release] = {}
        self._read()

    def __call__(self) -> dict[str, Release]:
        try:
            self._read()
        except ValueError as exc:
            raise Fault(
                "release.unavailable",
                "file_unusable",
                "the list of releases cannot be used now",
                operator=str(exc),
            ) from exc
        return self._listed

    def _read(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            if not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IWOTH:
                raise ValueError(f"{self._path}: expected a regular file that not everybody may write")
            document = tomllib.loads(self._path.read_text("utf-8"))
            listed = _by_digest(msgspec.convert(document, _List).releases)
        except (OSError, msgspec.ValidationError, RecursionError) as exc:
            # TOML and UTF-8 errors are ValueErrors already.
            raise ValueError(f"{self._path}: {exc}") from exc
        self._listed, self._seen = listed, seen


class AllowList:
    """ReleaseCheck: what is listed is a release, with the version that its entry states."""

    def __init__(self, listed: Callable[[], dict[str, Release]]) -> None:
        """Look digests up in what ``listed`` returns at each call."""
        self._listed = listed

    def check(self, digest: str, principal: Principal) -> Release:  # the same list for everybody
        """Return the release; ``release.untrusted``, reason ``digest_malformed`` or ``not_listed``,
        otherwise.

        ``release.unavailable`` (``file_unusable``) while the file cannot be used: then nothing is cleared.
        """
        if _DIGEST.fullmatch(digest) is None:
            raise Refusal(
                "release.untrusted", "digest_malformed", "the tool's digest is not sha256: and 64 hex digits"
            )
        release = self._listed().get(digest)
        if release is None:
            raise Refusal(
                "release.untrusted", "not_listed", "the tool's digest is not that of a known release"
            )
        return release


@hookimpl
def signerd_release_checks(settings: Settings) -> list[AllowList]:
    """Return the check; ValueError for settings or a file that are not as this module says."""
    try:
        given = msgspec.convert(dict(settings), _Settings)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    if given.file is None:
        listed = _by_digest(given.releases)
        return [AllowList(lambda: listed)]
    if given.releases:
        raise ValueError("expected one of releases and file, got both")
    return [AllowList(_File(Path(os.path.normpath(given.file))))]
