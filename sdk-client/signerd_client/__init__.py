"""Client of signerd: :class:`Signer` blocks, :class:`AsyncSigner` runs on trio and asyncio; ``signerctl`` is
the command.

Names are imported when they are used: the command starts without the async half.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signerd_client.asynchronous import AsyncSigner
    from signerd_client.blocking import Signer
    from signerd_client.presence import Approval
    from signerd_client.requests import PayloadRequest, SignRequest
    from signerd_client.results import BatchOutcome, Signed
    from signerd_client.subjects import Subject, SubjectFile
    from signerd_client.verifying import VerifyOutcome, VerifyRequest

__version__ = "0.1.0"

__all__ = [
    "Approval",
    "AsyncSigner",
    "BatchOutcome",
    "PayloadRequest",
    "SignRequest",
    "Signed",
    "Signer",
    "Subject",
    "SubjectFile",
    "VerifyOutcome",
    "VerifyRequest",
    "__version__",
]

_HOMES = {
    "Approval": "presence",
    "AsyncSigner": "asynchronous",
    "BatchOutcome": "results",
    "PayloadRequest": "requests",
    "SignRequest": "requests",
    "Signed": "results",
    "Signer": "blocking",
    "Subject": "subjects",
    "SubjectFile": "subjects",
    "VerifyOutcome": "verifying",
    "VerifyRequest": "verifying",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
