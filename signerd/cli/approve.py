"""``signerd approve``: look at an operation that waits for approvals, and approve it with an enrolled key.

The signature is OpenSSH's: ``ssh-keygen -Y sign`` makes it, with a private key, an agent's or a security key's, so that
no key passes through this program.
"""

import argparse
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signerd.cli.plane import Plane
    from signerd.wire.admin import Approval

__all__ = ["register", "run"]

SIGN_S: Final = 300
"""Seconds to type a passphrase, or to find the security key and touch it."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    from signerd.cli.keys import add_plane

    command = commands.add_parser(
        "approve",
        help="approve what waits for approvals",
        description="Show the operation that waits under ID, have its message signed by an enrolled key, and hand the"
        " signature in. Without ID: list what waits, and what ended lately.",
    )
    command.add_argument("ceremony", nargs="?", metavar="ID", help="the ceremony that approval.required named")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--key", metavar="FILE", help="OpenSSH private key, or the public half of an agent's")
    how.add_argument("--print", action="store_true", dest="message", help="write the message to stdout, sign nothing")
    how.add_argument("--signature", metavar="FILE", help="hand in a signature that was made elsewhere; - is stdin")
    how.add_argument("--withdraw", action="store_true", help="end the ceremony without use")
    add_plane(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, show, sign and hand in, or withdraw."""
    from signerd.cli.keys import configuration
    from signerd.cli.plane import reach

    if args.ceremony is None and (args.key or args.message or args.signature or args.withdraw):
        print("signerd: which one? name the ceremony's ID", file=sys.stderr)
        return 2
    with reach(configuration(args), args.socket.absolute() if args.socket else None) as plane:
        return _list(args, plane) if args.ceremony is None else _approve(args, plane)


def _list(args: argparse.Namespace, plane: "Plane") -> int:
    from signerd.cli.printing import show
    from signerd.wire import admin
    from signerd.wire.params import NoParams

    found, _ = plane.call("approval.list", NoParams(), admin.Approvals)
    columns = ("ceremony", "operation", "state", "requester", "needed", "approvals", "expires_at")
    show(args.output, found.approvals, columns)
    return 0


def _approve(args: argparse.Namespace, plane: "Plane") -> int:
    from signerd.cli.printing import show
    from signerd.wire import admin

    which = admin.ApprovalOf(args.ceremony)
    if args.withdraw:
        found, _ = plane.call("approval.withdraw", which, admin.Approval)
    else:
        found, _ = plane.call("approval.describe", which, admin.Approval)
        _check(found)
        _tell(found)
        if args.message:
            sys.stdout.buffer.write(found.message)
            return 0
        if args.signature:
            signature = _read(args.signature)
        elif args.key:
            signature = _signed(found, args.key)
        else:
            print("signerd: nothing is signed: give --key, --signature or --print", file=sys.stderr)
            return 2
        submit = admin.ApprovalSubmit(args.ceremony, signature)
        found, _ = plane.call("approval.submit", submit, admin.Approval)
    show(args.output, [found], ("ceremony", "operation", "state", "needed", "approvals", "expires_at"))
    return 0


def _check(found: "Approval") -> None:
    """Refuse a message that is not about the operation that is shown: what one reads is what one signs."""
    import hashlib

    import msgspec

    from signerd.errors import Fault

    try:
        said = msgspec.json.decode(found.message, type=dict[str, str | int])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {}
    expected = {
        "ceremony": found.ceremony,
        "operation": found.operation,
        "payload_sha256": hashlib.sha256(found.payload).hexdigest(),
        "expires_at": found.expires_at,
        "daemon": said.get("daemon", ""),
    }
    if said != expected:
        raise Fault("internal", "message", "the daemon's message is not about the operation that it shows")


def _tell(found: "Approval") -> None:
    from signerd.cli.printing import cell, moment

    payload = found.payload.decode("utf-8", "backslashreplace")
    given = cell(found.approvals)
    print(f"operation  {cell(found.operation)}", file=sys.stderr)
    print(f"order      {cell(payload)}", file=sys.stderr)
    print(f"approvals  {given} of {found.needed}, until {moment(found.expires_at)}", file=sys.stderr)


def _signed(found: "Approval", key: str) -> str:
    """Have ``ssh-keygen`` sign the message; it asks for a passphrase on the terminal itself."""
    from signerd.errors import Refusal

    command = ["ssh-keygen", "-Y", "sign", "-n", found.namespace, "-f", key]
    try:
        done = subprocess.run(command, input=found.message, stdout=subprocess.PIPE, timeout=SIGN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Refusal("request.malformed", "ssh_keygen", f"ssh-keygen cannot be used: {exc}") from exc
    if done.returncode:
        raise Refusal("request.malformed", "not_signed", f"ssh-keygen did not sign with {key}")
    return done.stdout.decode("ascii", "replace")


def _read(file: str) -> str:
    from signerd.errors import Refusal
    from signerd.wire.ceremonies import LARGEST_SIGNATURE

    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as stream:
            content = stream.read(LARGEST_SIGNATURE)
    except OSError as exc:
        raise Refusal("request.malformed", "signature_file", f"{file} cannot be read: {exc.strerror}") from exc
    return content.decode("ascii", "replace")
