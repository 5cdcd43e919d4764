"""Output profiles: in which form signatures leave, and what follows from that. One row each."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

from signerd.attestation.algorithms import ALGORITHMS, COMPANION_ALGORITHM, COSE_ALGORITHMS, COSIGN_ALGORITHMS
from signerd.errors import Refusal

__all__ = ["COSIGN", "DSSE", "OUTPUT_PROFILES", "OutputProfile"]


@dataclass(frozen=True, slots=True)
class OutputProfile:
    """One row.

    ``algorithms``: what keys may have; any other is refused with ``unfit``. ``keyless``: a key may be known only once
    it has signed. ``form``: what leaves of each request, a bundle for each key, one envelope with all signatures, or a
    COSE_Sign1 message for each key; beside an envelope the companion has a bundle. ``bare``: a document itself may be
    signed, and not only a Statement. ``gost_digests``: subjects may have digests that Sigstore's verifiers do not know.
    ``includes``: the values of ``options.include``.
    """

    name: str
    form: Literal["bundles", "envelope", "messages"]
    algorithms: AbstractSet[str]
    unfit: str
    includes: AbstractSet[str]
    keyless: bool = True
    bare: bool = False
    gost_digests: bool = False

    @property
    def publishes(self) -> bool:
        """Whether a bundle may leave, which is where log entries and stamps have their place."""
        return self.form != "messages"

    def check(self, algorithm: str) -> None:
        """Refuse (``key.algorithm_refused``, ``not_for_cosign`` …) an algorithm that it does not carry."""
        if algorithm not in self.algorithms:
            raise Refusal(
                "key.algorithm_refused",
                f"not_for_{self.name}",
                self.unfit.format(algorithm),
                details={"profile": self.name, "algorithm": algorithm},
            )

    def bundled(self, algorithms: Sequence[str], *, statement: bool = True) -> tuple[int, ...]:
        """Return the places of the signers that get a bundle: all, or the companion alone, which is the first of ES256;
        there may be none. What is no ``statement`` has none."""
        if self.form == "bundles":
            return tuple(range(len(algorithms)))
        if self.form == "messages" or not statement:
            return ()
        return tuple([place for place, name in enumerate(algorithms) if name == COMPANION_ALGORITHM][:1])


COSIGN: Final = OutputProfile(
    "cosign",
    "bundles",
    COSIGN_ALGORITHMS,
    "no Sigstore bundle carries {}: ask for the output profile dsse",
    frozenset({"chain", "envelope", "rekor_request"}),
)
"""Sigstore bundles: what leaves where nothing is asked for."""
DSSE: Final = OutputProfile(
    "dsse",
    "envelope",
    ALGORITHMS,
    "no envelope carries {}",
    frozenset({"chain", "envelope", "rekor_request"}),
    bare=True,
    gost_digests=True,
)
"""One DSSE envelope that holds all."""
_COSE: Final = OutputProfile(
    "cose",
    "messages",
    COSE_ALGORITHMS.keys(),
    "no COSE_Sign1 is made by {}",
    frozenset({"chain"}),
    keyless=False,  # what it signs names its key
)

OUTPUT_PROFILES: Final[Mapping[str, OutputProfile]] = {row.name: row for row in (COSIGN, DSSE, _COSE)}
"""By name, in the order in which they are listed."""
