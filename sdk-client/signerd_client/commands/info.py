"""``signerctl info``: what runs, what it takes, and whom it takes us for."""

import argparse

import msgspec
from msgspec import UNSET

from signerd.wire.messages import Hello
from signerd.wire.methods import DaemonInfo, SessionBound
from signerd_client.commands.connecting import connect
from signerd_client.output import json_text, table, write_stdout

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print versions, limits, methods, backends and the session."""
    with connect(arguments) as signer:
        hello = signer.hello
        info = signer.info(deadline_s=arguments.deadline)
        session = signer.bind(deadline_s=arguments.deadline)
    if arguments.output == "table":
        write_stdout(_as_table(hello, info, session).encode())
    else:
        write_stdout(json_text(_as_json(hello, info, session)))
    return 0


def _as_json(hello: Hello, info: DaemonInfo, session: SessionBound) -> dict[str, object]:
    whole: dict[str, object] = msgspec.to_builtins(info)
    bound: dict[str, object] = msgspec.to_builtins(session)
    # A nonce is of no use to anybody but this connection, which is closed by now.
    del bound["nonce"]
    return {**whole, "protocol": hello.version, "methods": hello.methods, "session": bound}


def _as_table(hello: Hello, info: DaemonInfo, session: SessionBound) -> str:
    methods = () if hello.methods is UNSET else hello.methods
    rows = [
        ("version", info.version),
        ("protocol", str(hello.version)),
        ("up for", f"{info.uptime_s} s"),
        ("principal", session.principal),
        ("tenant", session.tenant),
        ("scopes", " ".join(session.scopes)),
        ("methods", " ".join(methods)),
        ("profiles", " ".join(info.profiles)),
        ("checkpoints", info.checkpoints),
        *(("backend", f"{backend.name} {'up' if backend.up else 'down'}") for backend in info.backends),
        *(("plugin", f"{plugin.name} {plugin.version}") for plugin in info.plugins),
        *((name, str(value)) for name, value in msgspec.structs.asdict(info.limits).items()),
        *(("notice", notice) for notice in info.notices or ()),
    ]
    return table(("what", "value"), rows)
