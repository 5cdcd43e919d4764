"""All areas of the test vectors, as the text of their files."""

import json
from collections.abc import Mapping

from vector_documents import CANONICAL_JSON, PAE, STATEMENTS
from vector_frames import WIRE_FRAMES, WORKER_FRAMES
from vector_keys import ECDSA, KEY_IDS

__all__ = ["written"]

AREAS: Mapping[str, object] = {
    "canonical-json": CANONICAL_JSON,
    "ecdsa-der": ECDSA,
    "key-ids": KEY_IDS,
    "pae": PAE,
    "statements": STATEMENTS,
    "wire-frames": WIRE_FRAMES,
    "worker-frames": WORKER_FRAMES,
}


def written() -> dict[str, str]:
    """Return each area's file: ASCII, so that no tool on the way changes a byte of it."""
    return {name: json.dumps(area, indent=1) + "\n" for name, area in AREAS.items()}
