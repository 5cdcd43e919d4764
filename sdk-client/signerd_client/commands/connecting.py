"""The session that a command works in."""

import argparse

from signerd_client.blocking import Signer

__all__ = ["connect"]


def connect(arguments: argparse.Namespace) -> Signer:
    """Open the session that the options ``--socket`` and ``--server-uid`` ask for."""
    return Signer.connect(arguments.socket, server_uid=arguments.server_uid)
