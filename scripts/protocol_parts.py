"""What fills the places of scripts/protocol-page.md."""

import hmac

import msgspec

from protocol_tables import error_table, field_table, method_sections, method_table, table
from protocol_vectors import DESCRIPTORS, auth_vector, key_vectors, message_vectors
from signerd.attestation.macs import KEYID_LABEL, MACS, mac_keyid
from signerd.host import config_limits
from signerd.wire import mac_calls, worker_calls
from signerd.wire.connection import FRAME_LIMIT, FRAME_LIMIT_BOUND
from signerd.wire.decoding import KEYS_MAX, NAME_MAX
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Request, Response
from signerd.wire.params import Descriptor
from signerd.wire.worker_auth import CREDENTIAL_BYTES, NONCE_BYTES, Auth

__all__ = ["parts"]


def parts() -> dict[str, str]:
    """The text of each place by its name."""
    return {
        "frame_limit": f"{FRAME_LIMIT:,}",
        "frame_limit_bound": f"{FRAME_LIMIT_BOUND:,}",
        "keys_max": str(KEYS_MAX),
        "name_max": str(NAME_MAX),
        "hello_timeout_s": f"{config_limits.HELLO_TIMEOUT_S:g}",
        "request_deadline_s": f"{config_limits.REQUEST_DEADLINE_S:g}",
        "messages": _messages(),
        "limits_text": (Limits.__doc__ or "").strip(),
        "limits": field_table(Limits),
        "descriptor": field_table(Descriptor),
        "descriptors": str(DESCRIPTORS),
        "errors": error_table(),
        "methods": method_table(),
        "method_sections": method_sections(),
        "defaults": _defaults(),
        "key_vectors": key_vectors(),
        "message_vectors": message_vectors(),
        "link_frame_bytes": f"{worker_calls.LINK_FRAME_BYTES:,}",
        "payload_inline": f"{worker_calls.PAYLOAD_INLINE:,}",
        "describe_result": _keys(worker_calls.DescribeResult),
        "enrol_result": _keys(worker_calls.EnrolResult),
        "auth": field_table(Auth),
        "auth_vector": auth_vector(),
        "nonce_bytes": str(NONCE_BYTES),
        "credential_least": str(CREDENTIAL_BYTES[0]),
        "credential_most": f"{CREDENTIAL_BYTES[1]:,}",
        "sign_result": _keys(worker_calls.SignResultParams),
        "hmac_result": _keys(mac_calls.HmacResult),
        "check_hmac_result": _keys(mac_calls.CheckHmacResult),
        "mac_algorithms": _mac_algorithms(),
        "mac_label": KEYID_LABEL.decode(),
        "mac_keyid": mac_keyid(hmac.digest(bytes(range(32)), KEYID_LABEL, "sha256")),
    }


def _mac_algorithms() -> str:
    rows = [(f"`{name}`", str(s.mac_bytes), f"{s.shortest_key} to {s.longest_key}") for name, s in MACS.items()]
    return table(("algorithm", "bytes of the MAC", "bytes of the secret"), rows)


def _messages() -> str:
    return "\n\n".join(
        f"### {cls.__struct_config__.tag}\n\n{(cls.__doc__ or '').strip()}\n\n{field_table(cls)}"
        for cls in (Hello, Request, Response, Error, Cancel, Goaway)
    )


def _keys(cls: type[msgspec.Struct]) -> str:
    fields = msgspec.structs.fields(cls)
    return ", ".join(f"`{field.encode_name}{'' if field.required else '?'}`" for field in fields)


def _defaults() -> str:
    rows = (
        ("time for the client's hello", f"{config_limits.HELLO_TIMEOUT_S:g} s"),
        ("time for `session.bind`", f"{config_limits.BIND_TIMEOUT_S:g} s"),
        ("`deadline_ms` where none is given", f"{config_limits.REQUEST_DEADLINE_S:g} s"),
        ("longest `deadline_ms`", f"{config_limits.LONGEST_DEADLINE_S:g} s"),
        (
            "connections of one uid, of all",
            f"{config_limits.CONNECTIONS_PER_UID:,}, {config_limits.CONNECTIONS:,}",
        ),
        (
            "bytes that all unbound connections of one uid may have sent unread",
            f"{config_limits.UNBOUND_BYTES_PER_UID:,}",
        ),
        ("requests in flight on a connection", str(config_limits.IN_FLIGHT)),
        ("bin inside a frame", f"{config_limits.INLINE_BYTES:,} bytes"),
        ("predicate or payload", f"{config_limits.PAYLOAD_BYTES:,} bytes"),
        ("items of a batch", str(config_limits.BATCH_ITEMS)),
        ("subjects of a statement", f"{config_limits.SUBJECTS:,}"),
        ("digests of a subject", str(config_limits.DIGESTS)),
    )
    return table(("what", "default"), rows)
