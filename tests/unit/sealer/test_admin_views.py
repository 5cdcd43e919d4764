"""How versions, changes and ceremonies are shown: what is empty is absent, and time makes its statuses."""

from msgspec import UNSET, to_builtins

from signerd.sealer.admin_views import approval_of, approval_rows, change_of, version_row
from signerd.wire.ceremonies import NAMESPACE, Ceremony
from signerd.wire.ring import RingChange, RingEntry

ENTRY = RingEntry("file:a", "acme", 2, "sha256:" + "a" * 64, "ES256", b"\x30", "file", "active", 1000, expires_at=5000)
CEREMONY = Ceremony(
    "ab" * 16, "keys.rotate", b"{}", "cd" * 32, "uid:5", 5, 1000, 9000, "open", 2, ("alice",), b'{"daemon":"x"}'
)


def test_a_version_has_the_status_of_the_moment_and_nothing_empty() -> None:
    row = version_row(ENTRY, 2000)
    assert to_builtins(row) == {
        "key": "file:a", "tenant": "acme", "version": 2, "keyid": "sha256:" + "a" * 64, "algorithm": "ES256",
        "status": "active", "added_at": 1000, "expires_at": 5000,
    }  # fmt: skip
    assert version_row(ENTRY, 5000).status == "expired"


def test_a_change_tells_who_and_why_where_somebody_ordered_it() -> None:
    ordered = change_of(RingChange("rotate", ENTRY, 1500, "uid:5", "planned"))
    assert (ordered.change, ordered.time, ordered.version, ordered.by, ordered.reason) == (
        "rotate", 1500, 2, "uid:5", "planned",
    )  # fmt: skip
    assert change_of(RingChange("import", ENTRY, 1500)).by is UNSET


def test_a_ceremony_shows_what_is_to_be_signed_and_in_which_namespace() -> None:
    shown = approval_of(CEREMONY)
    assert (shown.message, shown.namespace, shown.payload, shown.state) == (b'{"daemon":"x"}', NAMESPACE, b"{}", "open")
    later = Ceremony(**{**to_builtins(CEREMONY, builtin_types=(bytes,)), "ceremony": "cd" * 16})
    rows = approval_rows([CEREMONY, later]).approvals
    assert [row.ceremony for row in rows] == ["cd" * 16, "ab" * 16]
    assert (rows[1].requester, rows[1].approvals, rows[1].requested_at) == ("uid:5", ("alice",), 1000)
