import argparse
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from signerd.errors import Refusal
from signerd_client.commands.connecting import connect


def test_the_options_name_socket_and_user(answering: Callable[..., Path]) -> None:
    path = answering(lambda _r, _d: [])
    with connect(argparse.Namespace(socket=str(path), server_uid=os.geteuid())) as signer:
        assert signer.hello.software == "double"


def test_a_path_that_others_can_write_is_refused(answering: Callable[..., Path]) -> None:
    path = answering(lambda _r, _d: [])
    path.parent.chmod(0o777)
    with pytest.raises(Refusal) as caught:
        connect(argparse.Namespace(socket=str(path), server_uid=None))
    assert caught.value.reason == "directory_mode"
