"""What the values of a configuration may be, by name."""

from typing import Annotated, Final

from msgspec import Meta

__all__ = [
    "FRAME_BYTES",
    "GIB",
    "Bytes",
    "Certificate",
    "Count",
    "KeyReference",
    "Name",
    "NoKeyReference",
    "Seconds",
    "Uid",
    "Uri",
]

GIB: Final = 1024 * 1024 * 1024
FRAME_BYTES: Final = 4 * 1024 * 1024
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=GIB)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
KeyReference = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+\Z", max_length=256)]
NoKeyReference = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9+.-]*:[!-~]+)?\Z", max_length=256)]
"""A key reference, or none: empty."""
Uid = Annotated[int, Meta(ge=0, le=2**32 - 2)]
Uri = Annotated[str, Meta(min_length=1, max_length=2048)]
Certificate = Annotated[
    str,
    Meta(
        pattern=r"^(none|/[^\x00]*)\Z",
        description='"none" or the path of a conformance certificate signed by a key of [conformance] certifiers',
    ),
]
