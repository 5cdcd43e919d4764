"""``signerd admin``: exceptions for a while, and what waits for a person."""

import argparse
import datetime
import sys
import time
from typing import Final

__all__ = ["register", "run"]

_ACTS: Final = {
    "bypass": "let a tenant sign although its entitlement source does not answer",
    "approve-release": "let a tool's digest count as a release",
    "confirm": "say that you have looked at what waits for a person",
    "reload": "have the daemon read its configuration again",
}
_MOST_HOURS: Final = 168
"""What any exception may last; the daemon knows of each how long."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the command and of what it can do."""
    from signerd.cli.keys import add_plane, milliseconds

    admin = commands.add_parser(
        "admin",
        help="make exceptions for a while; confirm; reload",
        description="Acts of an operator beside keys. Each is recorded with its reason.",
    )
    actions = admin.add_subparsers(dest="action", metavar="ACTION", required=True)
    bypass = actions.add_parser("bypass", help=_ACTS["bypass"], description=_ACTS["bypass"])
    bypass.add_argument("--tenant", required=True, metavar="NAME", help="which tenant")
    bypass.add_argument("--plan", required=True, metavar="NAME", help="the plan that its receipts name")
    release = actions.add_parser("approve-release", help=_ACTS["approve-release"], description=_ACTS["approve-release"])
    release.add_argument("digest", metavar="DIGEST", help="sha256:... of the tool")
    release.add_argument("--tenant", metavar="NAME", help="for this tenant alone; else for all")
    release.add_argument("--version", metavar="YEAR.MONTH", help="the tool's version, which some plans ask for")
    for command, most in ((bypass, "24h"), (release, "168h")):
        until = command.add_mutually_exclusive_group(required=True)
        until.add_argument("--hours", type=_hours, metavar="N", help=f"how long from now, at most {most}")
        until.add_argument("--until", type=milliseconds, metavar="TIME", help="RFC 3339: repeats an order exactly")
    confirm = actions.add_parser("confirm", help=_ACTS["confirm"], description=_ACTS["confirm"])
    confirm.add_argument("what", choices=["pin", "clock", "rollback"], help="pin: let a token's PIN be presented again")
    reload = actions.add_parser("reload", help=_ACTS["reload"], description=_ACTS["reload"])
    for command in (bypass, release, confirm):
        command.add_argument("--approval", metavar="ID", help="the ceremony that approved this very order")
    for command in (bypass, release, confirm, reload):
        command.add_argument("--reason", required=True, metavar="TEXT", help="why; it is recorded")
        add_plane(command)
        command.set_defaults(run=run)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most {_MOST_HOURS}")
    return hours


def run(args: argparse.Namespace) -> int:
    """Run one action; ``approval.required`` also says how to go on."""
    from msgspec import UNSET

    from signerd.cli.keys import configuration
    from signerd.cli.plane import reach
    from signerd.cli.printing import show
    from signerd.errors import Refusal
    from signerd.wire import admin

    with reach(configuration(args), args.socket.absolute() if args.socket else None) as plane:
        if args.action == "reload":
            done, _ = plane.call("admin.reload", admin.AdminReload(args.reason), admin.Done)
            show(args.output, [done], ("waiting",))
            return 0
        approval = args.approval or UNSET
        again = ""
        try:
            if args.action == "confirm":
                confirm = admin.AdminConfirm(args.what, args.reason, approval)
                done, _ = plane.call("admin.confirm", confirm, admin.Done)
                show(args.output, [done], ("backends",))
                return 0
            ends = args.until if args.until is not None else int(time.time() + args.hours * 3600) * 1000
            again = f"--until {datetime.datetime.fromtimestamp(ends / 1000, datetime.UTC).isoformat()} "
            if args.action == "bypass":
                bypass = admin.AdminBypass(args.tenant, args.plan, args.reason, ends, approval)
                granted, _ = plane.call("admin.bypass", bypass, admin.Granted)
            else:
                release = admin.ApproveRelease(
                    args.digest, args.reason, ends, args.tenant or UNSET, args.version or UNSET, approval
                )
                granted, _ = plane.call("admin.approve_release", release, admin.Granted)
        except Refusal as refusal:
            if ceremony := refusal.details.get("ceremony"):
                print(
                    f"signerd: ceremony {ceremony} waits for {refusal.details.get('needed')} approvals: each approver"
                    f" runs 'signerd approve {ceremony}', then repeat this order with"
                    f" {again}--approval {ceremony}",
                    file=sys.stderr,
                )
            raise
    show(args.output, [granted], ("bypass_id", "expires_at"))
    return 0

