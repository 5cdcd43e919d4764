"""The vendor's command-line tool: one call of ``csptest -keyset -sign`` for one signature.

It is started by its absolute path with a list of arguments, no shell, no terminal and ``-silent``, so that it can ask
nobody anything; its file is held to what a module's is. No argument is ever a PIN: all users of the host can read
those. What it prints is believed only where it is what the tool is known to print, and a signature only once it
verifies.
"""

import os
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from signerd.errors import Refusal, SignerdError
from signerd_key_cryptopro.settings import Container, ToolSettings
from signerd_key_cryptopro.workspace import Workspace
from signerd_key_pkcs11.failures import fault, not_found, unavailable
from signerd_key_pkcs11.module_path import checked

__all__ = ["PinRefused", "Tool"]

MOST_OUTPUT: Final = 64 * 1024
"""Bytes; the tool prints a few hundred."""
_CODE: Final = re.compile(rb"\[ErrorCode: 0x([0-9a-fA-F]{8})\]\s*")
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# winerror.h, as the CSP has it on every platform
_NOT_FOUND: Final = {
    0x80090016: "container_missing",  # NTE_BAD_KEYSET
    0x8009000D: "no_such_key",  # NTE_NO_KEY: a container without this one of its two keys
}
_AWAY: Final = {
    0x80090022: "pin_required",  # NTE_SILENT_CONTEXT: it would have to ask for a PIN
    0x8010000C: "token_absent",  # SCARD_E_NO_SMARTCARD
    0x80100017: "token_absent",  # SCARD_E_READER_UNAVAILABLE
    0x8010001D: "token_absent",  # SCARD_E_NO_SERVICE
    0x8010002E: "token_absent",  # SCARD_E_NO_READERS_AVAILABLE
}
_ALGORITHM: Final = {0x80090008: "mechanism_refused"}  # NTE_BAD_ALGID: the key is of another kind
_PIN: Final = {
    0x8010006B: "pin_incorrect",  # SCARD_W_WRONG_CHV: the PIN that the CSP itself has kept
    0x8010006C: "pin_locked",  # SCARD_W_CHV_BLOCKED
}


class PinRefused(Exception):
    """The container has refused the PIN that the CSP keeps for it; ``fault`` is what that is to the caller."""

    def __init__(self, error: SignerdError) -> None:
        super().__init__(error.reason)
        self.fault = error


class Tool:
    """Signs with keys in containers, a process a time."""

    def __init__(self, settings: ToolSettings, workspace: Workspace, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._workspace = workspace
        self._environment = {"LANG": "C", "PATH": "/usr/bin:/bin", **environment}

    def sign(self, container: Container, bits: int, message: bytes) -> bytes:
        """Return the ``bits`` / 4 bytes of a signature over ``message``, as the tool writes them.

        ``key.not_found``: ``container_missing``, ``no_such_key``. ``key.algorithm_refused``: ``mechanism_refused``.
        ``key.backend_unavailable``: ``pin_required``, ``token_absent``, ``tool_timeout``, ``tool_folder``,
        ``tool_missing``. ``key.backend_fault``: ``tool_failed``, ``tool_output``, ``signature_shape``,
        ``state_folder``, and what :func:`signerd_key_pkcs11.module_path.checked` finds of the tool's file. Raises
        :class:`PinRefused`.
        """
        program = _program(self._settings)
        with self._workspace.folder() as folder:
            asked, answered = folder / "message", folder / "signature"
            _write(asked, message)
            command = [program, "-keyset", "-sign", f"GOST12_{bits}", "-container", container.name]
            command += ["-keytype", container.key, "-in", str(asked), "-out", str(answered), "-silent"]
            status, output = self._run(command, folder)
            _judge(status, output)
            return _signature(answered, bits // 4)

    def _run(self, command: list[str], folder: Path) -> tuple[int, bytes]:
        end = time.monotonic() + self._settings.timeout_s
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as exc:
            raise fault("tool_failed", f"{command[0]} cannot be started: {exc.strerror}") from exc
        # It stays in this worker's process group, with which the sealer ends whatever a worker has started.
        with process:
            assert process.stdout is not None
            try:
                output = _read(process.stdout, end)
                return process.wait(max(0.0, end - time.monotonic())), output
            except (TimeoutError, subprocess.TimeoutExpired):
                raise unavailable("tool_timeout", f"no end after {self._settings.timeout_s:g} s") from None
            finally:
                if process.poll() is None:
                    _kill(process.pid)


def _program(settings: ToolSettings) -> str:
    try:
        path = checked(settings.program, "tool")
    except SignerdError as exc:
        if exc.reason == "tool_missing":
            raise unavailable("tool_missing", str(exc.args[0])) from exc
        raise
    if not os.access(path, os.X_OK):
        raise fault("tool_mode", f"{path} is no program that this user may run")
    return path


def _write(path: Path, message: bytes) -> None:
    try:
        with os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
            file.write(message)
    except OSError as exc:
        raise unavailable("tool_folder", f"{path} cannot be written: {exc.strerror}") from exc


def _read(stream: IO[bytes], end: float) -> bytes:
    """Read what a process prints, to the end; TimeoutError at ``end``, ``key.backend_fault`` for too much."""
    taken = bytearray()
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    while len(taken) <= MOST_OUTPUT:
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError
        part = os.read(stream.fileno(), MOST_OUTPUT)
        if not part:
            return bytes(taken)
        taken += part
    raise fault("tool_output", f"it prints more than {MOST_OUTPUT} bytes")


def _kill(pid: int) -> None:
    """Kill a process and those below it, which a wrapper leaves running."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    for child in children:
        _kill(int(child))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _judge(status: int, output: bytes) -> None:
    """Return where the tool says that all went well; its last line alone says so, and it says so once."""
    lines = output.strip().splitlines() or [b""]
    last = _CODE.fullmatch(lines[-1])
    shown = f"status {status}, and in the end it prints {output[-200:]!r}"
    if last is None or len(_CODE.findall(output)) != 1:
        raise fault("tool_output" if status == 0 else "tool_failed", shown)
    code = int(last[1], 16)
    operator = f"code {code:#010x}, {shown}"
    if code in _PIN:
        raise PinRefused(fault(_PIN[code], operator))
    if code in _NOT_FOUND:
        raise not_found(_NOT_FOUND[code], operator)
    if code in _AWAY:
        raise unavailable(_AWAY[code], operator)
    if code in _ALGORITHM:
        public = "the key's container does not sign so"
        raise Refusal("key.algorithm_refused", _ALGORITHM[code], public, operator=operator)
    if code or status:
        raise fault("tool_failed", operator)


def _signature(path: Path, length: int) -> bytes:
    try:
        fd = os.open(path, _READ)
    except OSError as exc:
        raise fault("signature_shape", f"the tool has left no signature: {exc.strerror}") from exc
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise fault("signature_shape", "the tool has left no regular file")
        signature = file.read(length + 1)
    if len(signature) != length:
        raise fault("signature_shape", f"the tool has left {len(signature)} bytes or more, a signature has {length}")
    return signature
