"""Where the daemon's socket is."""

import os
from collections.abc import Mapping

__all__ = ["SYSTEM_SOCKET", "socket_path"]

SYSTEM_SOCKET = "/run/signerd/sign.sock"
"""The socket of a daemon that the machine's administrator installed."""


def socket_path(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Return the absolute path of the socket to use.

    The first of: ``path``, ``$SIGNERD_SOCKET``, ``$XDG_RUNTIME_DIR/signerd/sign.sock`` where that variable is
    set and the socket exists, :data:`SYSTEM_SOCKET`. A leading ``unix:``, as the daemon's ready line has it,
    is taken off. An empty variable counts as unset. Nothing is resolved: a symlink stays one, for the trust
    check to refuse.
    """
    variables = os.environ if environ is None else environ
    chosen = os.fspath(path) if path is not None else variables.get("SIGNERD_SOCKET", "")
    if not chosen:
        runtime = variables.get("XDG_RUNTIME_DIR", "")
        own = os.path.join(runtime, "signerd", "sign.sock") if runtime else ""
        chosen = own if own and os.path.lexists(own) else SYSTEM_SOCKET
    return os.path.abspath(chosen.removeprefix("unix:"))
