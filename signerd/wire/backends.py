"""What the front end is told of key workers."""

import msgspec

__all__ = ["BackendChanged", "BackendState"]


class BackendState(msgspec.Struct, frozen=True):
    """Whether a key worker answers. ``scheme`` is that of the references it serves."""

    name: str
    scheme: str
    up: bool


class BackendChanged(msgspec.Struct, frozen=True, tag_field="type", tag="backend_changed"):
    """A key worker came up or went down."""

    backend: BackendState
