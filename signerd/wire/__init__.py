"""The wire, sans-IO: bytes and descriptors in, messages out, and back. Nothing here opens, reads or closes.

:mod:`~signerd.wire.frames` cuts the stream, :mod:`~signerd.wire.messages` names the six messages,
:mod:`~signerd.wire.state` says who may send which when, :mod:`~signerd.wire.connection` joins the three;
:mod:`~signerd.wire.methods` types what requests and responses carry.
"""
