"""The story of one signature. Read this first: everything else is a detail of one of its lines."""

from signerd.contracts.values import Peer
from signerd.pipeline.admit import admit
from signerd.pipeline.authenticate import authenticate
from signerd.pipeline.build_statement import build_statement
from signerd.pipeline.check_release import check_release
from signerd.pipeline.entitle import entitle
from signerd.pipeline.evidence import Signed
from signerd.pipeline.request import SignRequest
from signerd.pipeline.seal import seal
from signerd.pipeline.services import Services
from signerd.pipeline.understand import understand

__all__ = ["sign"]


async def sign(request: SignRequest, peer: Peer, services: Services) -> Signed:
    """Decide, then sign: any line may refuse, none can be skipped.

    Each stage takes the evidence of the one before it, so that a story without a stage does not type-check.
    The record is outermost: however this ends, exactly one closed record says so (T3).
    """
    async with services.record(request, peer) as entry:
        with services.deadline(request):
            principal = await authenticate(request, services)
            order = await understand(principal, request, services)
            entitled = await entitle(order, services)
            cleared = await check_release(entitled, services)
            async with admit(cleared, services) as admission:
                statement = await build_statement(admission, services)
                signed = await seal(statement, entry, services)
    return signed
