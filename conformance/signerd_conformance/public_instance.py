"""The files that say what is believed: those that were named, or those of the public Sigstore instances.

The installed sigstore-python brings the latter: they age with that package and not with this one. Nothing is fetched,
and no line of it is imported.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from signerd.errors import Refusal
from signerd.verification.trusted_root import LARGEST_TRUSTED_ROOT, TrustedRoot, parse_trusted_root

__all__ = ["bounded", "public_file", "root_of"]


def root_of(path: Path | None, staging: bool) -> TrustedRoot:
    """Return the trusted root of a file, or where none is named that of an instance; OSError for a file that cannot be
    read, refuses as :func:`public_file` and :func:`~signerd.verification.trusted_root.parse_trusted_root`."""
    if path is None:
        return parse_trusted_root(public_file("trusted_root.json", staging, LARGEST_TRUSTED_ROOT))
    return parse_trusted_root(bounded(path, LARGEST_TRUSTED_ROOT))


def public_file(name: str, staging: bool, limit: int) -> bytes:
    """Return a file of the public instance, or with ``staging`` of the staging one. Refuses ``request.malformed``,
    reason ``no_trusted_root``, where no sigstore-python brings it."""
    host = "tuf-repo-cdn.sigstage.dev" if staging else "tuf-repo-cdn.sigstore.dev"
    try:
        held = distribution("sigstore").locate_file(f"sigstore/_store/https%3A%2F%2F{host}/{name}")
        return bounded(Path(str(held)), limit)
    except (PackageNotFoundError, FileNotFoundError):
        option = "--trusted-root" if name.startswith("trusted_root") else "--signing-config"
        said = f"{option} FILE is needed: no sigstore-python is here whose public files could be taken"
        raise Refusal("request.malformed", "no_trusted_root", said) from None


def bounded(path: Path, limit: int) -> bytes:
    """Read no more than one byte over the limit, which the reader of the bytes then refuses."""
    with path.open("rb") as file:
        return file.read(limit + 1)
