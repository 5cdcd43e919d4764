"""A module's file before it is loaded: nobody but root and this user can have put it there, or swap it.

The module becomes part of this process with all its rights, so every folder and link on the way to it counts.
"""

import hashlib
import os
import stat
from typing import Final

from signerd_key_pkcs11.failures import fault
from signerd_key_pkcs11.settings import ModuleFile

__all__ = ["checked"]

_MOST_LINKS: Final = 40
"""As the kernel: a chain of more is a loop (path_resolution(7))."""


def checked(module: ModuleFile, kind: str = "module") -> str:
    """Return the real path of the file, links followed. Reasons begin with ``kind``: a program is held to the same.

    ``key.backend_fault``: ``module_missing``, ``module_type`` (no regular file), ``module_owner`` (it, a link or
    a folder on the way is neither root's nor this user's), ``module_mode`` (it or a folder may be written to by
    others; a sticky folder may), ``module_digest`` (not the pinned one).
    """
    path, found = _followed(module.path, kind)
    if not stat.S_ISREG(found.st_mode):
        raise fault(f"{kind}_type", f"{path} is not a regular file")
    if module.sha256 is not None:
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise fault(f"{kind}_missing", f"{path} cannot be read: {exc.strerror}") from exc
        if digest != module.sha256:
            raise fault(f"{kind}_digest", f"{path} has SHA-256 {digest}, the configuration pins {module.sha256}")
    return path


def _followed(path: str, kind: str) -> tuple[str, os.stat_result]:
    waiting = path.split("/")[::-1]
    place, found = "/", _looked_at("/", kind)
    links = 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            place = os.path.dirname(place)
            continue
        step = os.path.join(place, name)
        found = _looked_at(step, kind)
        if not stat.S_ISLNK(found.st_mode):
            place = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise fault(f"{kind}_missing", f"{path} is a chain of links without end")
        target = os.readlink(step)
        waiting += target.split("/")[::-1]
        if target.startswith("/"):
            place = "/"
    return place, found


def _looked_at(path: str, kind: str) -> os.stat_result:
    try:
        found = os.lstat(path)
    except OSError as exc:
        raise fault(f"{kind}_missing", f"{path}: {exc.strerror}") from exc
    if found.st_uid not in (0, os.geteuid()):
        raise fault(f"{kind}_owner", f"{path} must belong to root or to the user of the key worker")
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode) and not sticky:
        raise fault(f"{kind}_mode", f"{path} must be closed to other writers")
    return found
