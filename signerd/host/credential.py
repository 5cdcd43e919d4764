"""The credential that a key worker at a socket path and the sealer share: read where nobody else could have read it."""

import os
from collections.abc import Mapping

from signerd.errors import Fault
from signerd.secret_files.reading import Unfit, read_secret
from signerd.wire.worker_auth import CREDENTIAL_BYTES

__all__ = ["read_credential"]


def read_credential(named: str, env: Mapping[str, str] = os.environ) -> bytes:
    """Return all bytes of the credential: of the file at an absolute path, else of systemd's credential of that name.

    Fault ``key.backend_unavailable``, whose reason is ``credential_`` and that of
    :func:`~signerd.secret_files.reading.read_secret` (``credential_size``: 32 to 4096 bytes; ``credential_missing``
    where systemd passed none); its text names the file and never what is in it.
    """
    least, most = CREDENTIAL_BYTES
    try:
        held = read_secret(named, most, env)
        if len(held) < least:
            raise Unfit("size", f"{named} has fewer than {least} bytes")
    except Unfit as unfit:
        reason = "missing" if unfit.reason == "no_credentials" else unfit.reason
        raise Fault(
            "key.backend_unavailable",
            f"credential_{reason}",
            "the key's backend is not available",
            operator=f"credential: {unfit}",
        ) from None
    return held
