"""An installed distribution, checked file by file before any line of it runs.

What counts as the distribution is its RECORD (the wheel's list of files with their SHA-256, PyPA
specification "Recording installed projects"). Each file is compared with it at load; no directory may be
writable by another user; nothing that Python could import may lie beside it. The finder then compares each
module again in the moment of its import and compiles the very bytes that it compared: neither a swap after
the check nor a ``.pyc`` that somebody else wrote is ever run.
"""

import base64
import binascii
import csv
import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

__all__ = ["Distribution", "LoadError", "VerifiedFinder", "VerifiedLoader", "find_entry", "verify"]

_SOURCE: Final = tuple(importlib.machinery.SOURCE_SUFFIXES)
_EXTENSION: Final = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_IMPORTABLE: Final = (*_SOURCE, *_EXTENSION, *importlib.machinery.BYTECODE_SUFFIXES)
_BYTECODE_FOLDER: Final = "__pycache__"
_RUN_AT_START: Final = frozenset({"sitecustomize", "usercustomize"})
"""Modules that site.py imports in every Python process, as it runs .pth files."""


class LoadError(ValueError):
    """A plugin cannot be loaded: ``plugin`` as the configuration names it, ``expectation`` in a plain
    sentence.

    Raised at start only, so it is no answer to a caller and has no stable code.
    """

    def __init__(self, plugin: str, expectation: str, *, file: str | os.PathLike[str] | None = None) -> None:
        where = f"{os.fspath(file)}: " if file is not None else ""
        super().__init__(f"plugin {plugin}: {where}{expectation}")
        self.plugin = plugin
        self.expectation = expectation
        self.file = None if file is None else os.fspath(file)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution whose files were all as its RECORD says, or an editable one (``record_sha256`` is
    empty)."""

    name: str
    version: str
    record_sha256: str
    module: str
    files: Mapping[str, bytes]
    """Absolute path to SHA-256, of every file with a hash."""

    @property
    def editable(self) -> bool:
        """Whether it is a working copy, which nobody can verify."""
        return not self.record_sha256

    @property
    def base(self) -> str:
        """The folder that its modules are imported from; LoadError where no file with a hash says so."""
        listed = next((path for path in self.files if ".dist-info" + os.sep in path), None)
        if listed is None:
            raise LoadError(self.name, "its RECORD lists no file of its .dist-info with a hash")
        return os.path.dirname(os.path.dirname(listed))


def find_entry(group: str, name: str) -> importlib.metadata.EntryPoint:
    """Return the entry point ``name`` of ``group``; nothing is imported.

    Raises LoadError where no installed distribution offers it, or more than one does: which of two is meant
    must not depend on the order of a search path.
    """
    found = importlib.metadata.entry_points(group=group, name=name)
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise LoadError(name, f"no installed distribution offers it in the entry-point group {group}")
    owners = sorted({entry.dist.name for entry in found if entry.dist is not None})
    raise LoadError(name, f"more than one installed distribution offers it in {group}: {', '.join(owners)}")


def verify(entry: importlib.metadata.EntryPoint, *, development: bool) -> Distribution:
    """Check every file of the distribution that offers ``entry`` and return what was found; imports nothing.

    Raises LoadError for a missing RECORD, a file that is missing, altered or not listed with a SHA-256, a
    module that RECORD does not list, a file or directory that another user can write, and for an editable
    installation unless ``development``.
    """
    dist = entry.dist
    if dist is None:
        raise LoadError(entry.name, "its entry point belongs to no distribution")
    record = dist.read_text("RECORD")
    if _is_editable(dist):
        if not development:
            raise LoadError(
                entry.name,
                f"{dist.name} is an editable installation, which loads with development = true only",
            )
        return Distribution(dist.name, dist.version, "", entry.module, {})
    if record is None:
        raise LoadError(entry.name, f"{dist.name} has no RECORD, so its files cannot be verified")
    base = Path(os.path.abspath(str(dist.locate_file(""))))
    files = _check_files(entry.name, base, record)
    if (
        _module_file(base, entry.module) not in files
        and _module_file(base, entry.module, "__init__") not in files
    ):
        raise LoadError(
            entry.name, f"its entry point names the module {entry.module}, which is not in its RECORD"
        )
    _check_places(entry.name, base, files)
    digest = hashlib.sha256(_record_bytes(entry.name, base, record, files)).hexdigest()
    return Distribution(dist.name, dist.version, digest, entry.module, files)


def _module_file(base: Path, module: str, *last: str) -> str:
    return str(base.joinpath(*module.split("."), *last)) + ".py"


def _is_editable(dist: importlib.metadata.Distribution) -> bool:
    text = dist.read_text("direct_url.json")
    if text is None:
        return False
    try:
        info = json.loads(text).get("dir_info", {})
        return bool(info.get("editable", False))
    except (ValueError, AttributeError):
        return True  # unreadable: not what an installer wrote, so not to be trusted as a plain installation


def _check_files(plugin: str, base: Path, record: str) -> dict[str, bytes]:
    """Compare each file with its line; return the absolute paths with their digests."""
    files: dict[str, bytes] = {}
    for row in csv.reader(record.splitlines()):
        if len(row) != 3:
            raise LoadError(plugin, f"RECORD has a line with {len(row)} fields instead of three")
        path = os.path.normpath(os.path.join(base, row[0]))
        if not row[1]:
            # Installers list RECORD itself and the bytecode that they compile without a hash. Neither is ever
            # run.
            if path.endswith((".dist-info/RECORD", *importlib.machinery.BYTECODE_SUFFIXES)):
                continue
            raise LoadError(plugin, "every file needs a SHA-256 in RECORD", file=path)
        if path.endswith(".pth"):
            # site.py runs it at the start of every Python process: front end and sealer too (T2).
            raise LoadError(plugin, "a plugin may not bring a .pth file", file=path)
        if os.path.basename(path).partition(".")[0] in _RUN_AT_START or _RUN_AT_START & set(Path(path).parts):
            raise LoadError(plugin, "a plugin may not bring a module that every Python imports at its start", file=path)
        files[path] = _expected(plugin, path, row[1])
        data = _read(plugin, path)
        if hashlib.sha256(data).digest() != files[path]:
            raise LoadError(
                plugin, "the file is not the one that RECORD lists: install the distribution again", file=path
            )
    return files


def _record_bytes(plugin: str, base: Path, record: str, files: Mapping[str, bytes]) -> bytes:
    """Return the bytes of the RECORD whose text is ``record``: its digest is that of the file, line ends included, as
    sha256sum(1) has it.

    LoadError unless it lists itself, what says its name, version and entry points, and files of no other .dist-info:
    with another one there, a pin could be on a file that stays as it is while everything else changes.
    """
    rows = [Path(os.path.normpath(os.path.join(base, row[0]))) for row in csv.reader(record.splitlines())]
    infos = {folder for path in rows for folder in path.parents if folder.name.endswith(".dist-info")}
    if not any(path.name == "RECORD" and path.parent in infos for path in rows):
        raise LoadError(plugin, "RECORD does not list itself")
    info = infos.pop()
    if infos or info.parent != base:
        raise LoadError(plugin, "RECORD lists files of another .dist-info than its own")
    data = _read(plugin, str(info / "RECORD"))
    if data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n") != record:
        raise LoadError(plugin, "RECORD is not the one that it lists")
    for name in ("METADATA", "entry_points.txt"):
        if str(info / name) not in files:
            raise LoadError(plugin, f"RECORD does not list its {name} with a SHA-256")
    return data


def _expected(plugin: str, path: str, field: str) -> bytes:
    algorithm, _, value = field.partition("=")
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        digest = b""
    if algorithm != "sha256" or len(digest) != 32:
        raise LoadError(plugin, "every file needs a SHA-256 in RECORD", file=path)
    return digest


def _read(plugin: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            _check_mode(plugin, path, os.fstat(file.fileno()))
            return file.read()
    except OSError as exc:
        raise LoadError(
            plugin, f"a file that RECORD lists cannot be read ({exc.strerror})", file=path
        ) from exc


def _check_mode(plugin: str, path: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise LoadError(plugin, "it must belong to root or to the user that signerd runs as", file=path)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LoadError(plugin, "nobody but its owner may be able to write it: chmod go-w", file=path)


def _check_places(plugin: str, base: Path, files: Mapping[str, bytes]) -> None:
    """Check the modes of all directories, and that they hold no module but the listed ones."""
    folders = {os.path.dirname(path) for path in files if Path(path).is_relative_to(base)} - {str(base)}
    for folder in [str(base), *sorted(folders)]:
        _check_mode(plugin, folder, os.stat(folder))
    # A folder of this distribution's modules is its own from the package's top on.
    tops = {Path(path).relative_to(base).parts[0] for path in files if Path(path).is_relative_to(base)}
    for top in sorted(tops):
        package = base / top
        if (package / "__init__.py").is_file() and str(package / "__init__.py") in files:
            _check_package(plugin, package, files)


def _check_package(plugin: str, package: Path, files: Mapping[str, bytes]) -> None:
    for folder, names, present in os.walk(package, onerror=_raise):
        if _BYTECODE_FOLDER in names:
            names.remove(_BYTECODE_FOLDER)  # never read, see VerifiedLoader
        _check_mode(plugin, folder, os.stat(folder))
        for name in present:
            path = os.path.join(folder, name)
            if name.endswith(_IMPORTABLE) and path not in files:
                raise LoadError(plugin, "a module lies in the package that RECORD does not list", file=path)


def _raise(error: OSError) -> None:
    raise error


class VerifiedFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of verified distributions, and lets none be imported that their RECORD does not list.

    One for the process; :meth:`add` it distributions before their first import.
    """

    def __init__(self) -> None:
        self._modules: dict[str, tuple[str, bytes]] = {}
        self._packages: set[str] = set()

    def install(self) -> None:
        """Stand before all other finders; once."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def add(self, distribution: Distribution) -> None:
        """Take over the modules of ``distribution``; nothing for an editable one, whose files nobody vouches
        for."""
        if distribution.editable:
            return
        base = distribution.base
        for path, digest in distribution.files.items():
            suffix = next((s for s in (*_EXTENSION, *_SOURCE) if path.endswith(s)), None)
            if suffix is None or not path.startswith(base + os.sep):
                continue
            parts = path[len(base) + 1 : -len(suffix)].split(os.sep)
            if parts[-1] == "__init__":
                parts.pop()
                self._packages.add(".".join(parts))
            if parts and all(part.isidentifier() for part in parts):
                self._modules[".".join(parts)] = (path, digest)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a listed module; ImportError for an unlisted one of a verified package."""
        del path, target
        known = self._modules.get(fullname)
        if known is None:
            if fullname.rpartition(".")[0] in self._packages:
                raise ModuleNotFoundError(
                    f"{fullname} is not in the RECORD of its distribution", name=fullname
                )
            return None
        location, digest = known
        if location.endswith(_EXTENSION):
            _check_module(fullname, Path(location).read_bytes(), digest)
            return importlib.util.spec_from_file_location(fullname, location)
        loader = VerifiedLoader(fullname, location, digest)
        return importlib.util.spec_from_file_location(fullname, location, loader=loader)


class VerifiedLoader(importlib.machinery.SourceFileLoader):
    """Compiles the bytes that it has just compared with RECORD; reads and writes no bytecode."""

    def __init__(self, fullname: str, path: str, digest: bytes) -> None:
        super().__init__(fullname, path)
        self._digest = digest

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the module; ImportError where its file is no longer the listed one."""
        data = self.get_data(self.path)
        _check_module(fullname, data, self._digest)
        code: CodeType = self.source_to_code(data, self.path)
        return code


def _check_module(fullname: str, data: bytes, digest: bytes) -> None:
    if hashlib.sha256(data).digest() != digest:
        raise ImportError(f"{fullname} was altered after its distribution was verified", name=fullname)
