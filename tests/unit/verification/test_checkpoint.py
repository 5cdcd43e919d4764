import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from fakes.sigstore import Sigstore, Witnessing, b64, new_key, spki
from signerd.errors import Refusal
from signerd.verification.checkpoint import (
    Witness,
    check_log_signature,
    count_witnesses,
    parse_checkpoint,
)
from signerd.verification.keys import PublicKey

STACK = Sigstore()
KEY = PublicKey.from_spki(spki(STACK.rekor2))
HINT = STACK.rekor2_id[:4]
ROOT = hashlib.sha256(b"root").digest()
NOTE = STACK.checkpoint(5, ROOT)


def refused(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value.reason


def test_reads_a_checkpoint() -> None:
    checkpoint = parse_checkpoint(NOTE)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (STACK.host, 5, ROOT)
    assert [(line.name, line.hint) for line in checkpoint.signatures] == [(STACK.host, HINT)]
    check_log_signature(checkpoint, KEY, HINT, STACK.host)
    check_log_signature(checkpoint, KEY, HINT, None)


def test_further_lines_of_the_body_are_signed_too() -> None:
    key = new_key()
    body = f"log - 1\n3\n{b64(ROOT)}\nTimestamp: 1\n"
    signature = key.sign(body.encode(), ec.ECDSA(SHA256()))
    note = f"{body}\n\N{EM DASH} log {b64(b'hint' + signature)}\n"
    check_log_signature(parse_checkpoint(note), PublicKey.from_spki(spki(key)), b"hint", None)
    other = parse_checkpoint(note.replace("Timestamp: 1", "Timestamp: 2"))
    assert refused(check_log_signature, other, PublicKey.from_spki(spki(key)), b"hint", None) == "checkpoint_signature"


@pytest.mark.parametrize(
    "note",
    [
        "",
        NOTE.replace("\n\n", "\n"),
        NOTE[:-1],
        NOTE.replace("\n5\n", "\n"),
        NOTE.replace("\n5\n", "\n05\n"),
        NOTE.replace("\n5\n", "\n-5\n"),
        NOTE.replace("\n5\n", "\n\u0665\n"),
        NOTE.replace("\n5\n", "\n9999999999999999999\n"),
        NOTE.replace(f"{b64(ROOT)}\n", ""),
        NOTE.replace(b64(ROOT), b64(ROOT[:-1])),
        NOTE.replace(b64(ROOT), b64(ROOT).rstrip("=")),
        NOTE.replace(f"{STACK.host}\n5", "\n5"),
        NOTE.replace("\N{EM DASH}", "-"),
        NOTE.replace(f"\N{EM DASH} {STACK.host}", "\N{EM DASH} "),
        NOTE + "no signature\n",
        NOTE + f"\N{EM DASH} a+b {b64(bytes(9))}\n",
        NOTE + f"\N{EM DASH} a {b64(bytes(4))}\n",
        NOTE + f"\N{EM DASH} a {b64(bytes(9))}\n" * 100,
        NOTE.replace(STACK.host, "\ud800", 1),
        NOTE.replace(STACK.host, "x" * 70_000),
    ],
)
def test_what_is_no_checkpoint(note: str) -> None:
    assert refused(parse_checkpoint, note) == "checkpoint_malformed"


def test_lines_of_others_mean_nothing_in_any_order() -> None:
    body, line = NOTE.split("\n\n")
    stranger = Witnessing().line(f"{body}\n".encode())
    for note in (f"{body}\n\n{stranger}{line}", f"{body}\n\n{line}{stranger}"):
        check_log_signature(parse_checkpoint(note), KEY, HINT, STACK.host)
    alone = parse_checkpoint(f"{body}\n\n{stranger}")
    assert refused(check_log_signature, alone, KEY, HINT, STACK.host) == "checkpoint_unsigned"
    renamed = parse_checkpoint(NOTE.replace(f"\N{EM DASH} {STACK.host}", "\N{EM DASH} other"))
    assert refused(check_log_signature, renamed, KEY, HINT, STACK.host) == "checkpoint_unsigned"


def test_a_line_of_the_log_must_be_by_it() -> None:
    body, line = NOTE.split("\n\n")
    forged = f"\N{EM DASH} {STACK.host} {b64(HINT + bytes(64))}\n"
    for note in (f"{body}\n\n{forged}", f"{body}\n\n{line}{forged}", f"{body}\n\n{forged}{line}"):
        assert refused(check_log_signature, parse_checkpoint(note), KEY, HINT, STACK.host) == "checkpoint_signature"
    other = parse_checkpoint(STACK.checkpoint(5, ROOT, origin="other.example"))
    assert refused(check_log_signature, other, KEY, HINT, STACK.host) == "checkpoint_origin"


def test_witnesses_are_read_from_verifier_keys() -> None:
    """The example of C2SP ``tlog-cosignature`` has this form."""
    witness = Witnessing()
    read = Witness.parse(witness.vkey)
    assert (read.name, read.hint) == (witness.name, witness.hint)
    name, hint, key = witness.vkey.split("+", 2)
    for wrong in (
        "",
        name,
        f"{name}+{hint}",
        f"{name}+00000000+{key}",
        f"+{hint}+{key}",
        f"other+{hint}+{key}",
        f"{name}+{hint}+{key[:-4]}",
    ):
        with pytest.raises(Refusal) as caught:
            Witness.parse(wrong)
        assert (caught.value.code, caught.value.reason) == ("request.malformed", "witness_key")


def test_each_witness_counts_once() -> None:
    one, two = Witnessing("one"), Witnessing("two")
    known = [Witness.parse(one.vkey), Witness.parse(two.vkey), Witness.parse(one.vkey)]
    assert count_witnesses(parse_checkpoint(STACK.checkpoint(5, ROOT, witnesses=[one, one])), known) == 1
    assert count_witnesses(parse_checkpoint(STACK.checkpoint(5, ROOT, witnesses=[two, one])), known) == 2
    assert count_witnesses(parse_checkpoint(NOTE), known) == 0
    liar = Witnessing("one")
    body = NOTE.split("\n\n")[0] + "\n"
    encoded = b64(one.hint + bytes(8) + liar.key.sign(b"x"))
    note = f"{NOTE}\N{EM DASH} one {encoded}\n"
    assert body in note
    assert refused(count_witnesses, parse_checkpoint(note), known) == "witness_signature"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(Refusal, match="checkpoint_malformed"):
        parse_checkpoint(text)
