import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]

DIGEST = "sha256:" + "0" * 64
GOOD = {
    "subject": [{"name": "n", "digest": {"sha256": "ab" * 32}}],
    "type": "cyclonedx",
    "predicate": {"a": 1.50},
}


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """The items that were asked for."""
    return []


@pytest.fixture
def path(
    answering: Callable[..., Path],
    respond: Callable[..., Any],
    sign_result: Callable[..., Any],
    asked: list[dict[str, Any]],
) -> str:
    def handler(request: Any, _: object) -> list[Any]:
        params = msgspec.msgpack.decode(request.params)
        items = params["items"]
        asked.extend(items)
        cose = params.get("options", {}).get("profile") == "cose"
        ok = {**sign_result(), **({"bundles": [], "bundle_sha256": [], "cose": [b"m", b"n"]} if cose else {})}
        error = {"code": "release.untrusted", "message": "no", "details": {"reason": "digest_missing"}}
        return [
            respond(
                request,
                {
                    "outcomes": [
                        {"index": index, "ok": ok}
                        if "scanner_image_digest" in item
                        else {"index": index, "error": error}
                        for index, item in enumerate(items)
                    ]
                },
            )
        ]

    return str(answering(handler))


def write(tmp_path: Path, *lines: object) -> str:
    file = tmp_path / "batch.ndjson"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(file)


def outcomes(capture: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capture.readouterr().out.splitlines()]


def test_an_outcome_a_line_in_order(
    tmp_path: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    (tmp_path / "app").write_bytes(b"app")
    (tmp_path / "p.json").write_bytes(b'{ "spaces": 1 }')
    by_file = {"subject": [f"{tmp_path}/app:x"], "type": "t", "predicate_file": f"{tmp_path}/p.json"}
    file = write(tmp_path, GOOD, "", "{not json", by_file, {**GOOD, "release": DIGEST, "keys": ["a"]})
    code = main(["sign", "batch", file, "--release", DIGEST, "--socket", path])
    lines = outcomes(capfdbinary)
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert ["ok" in line for line in lines] == [True, False, True, True]
    assert lines[1]["error"]["code"] == "request.malformed"
    assert lines[1]["error"]["details"]["reason"] == "batch_line"
    assert code == 2
    assert [item["predicate"] for item in asked] == [b'{"a": 1.5}', b'{ "spaces": 1 }', b'{"a": 1.5}']
    assert asked[1]["subject"][0]["name"] == "x"
    assert asked[2]["options"] == {"keys": ["a"]}


def test_the_code_is_that_of_the_first_that_failed(tmp_path: Path, path: str, capfdbinary: Capture) -> None:
    file = write(tmp_path, {**GOOD, "release": DIGEST}, GOOD, "[]")
    assert main(["sign", "batch", file, "--socket", path]) == 3
    assert outcomes(capfdbinary)[1]["error"] == {
        "code": "release.untrusted",
        "message": "no",
        "details": {"reason": "digest_missing"},
    }


@pytest.mark.parametrize(
    "line",
    [
        {**GOOD, "unknown": 1},
        {"subject": GOOD["subject"], "type": "t"},
        {**GOOD, "predicate_file": "x"},
        {**GOOD, "subject": ["absent"]},
        {**GOOD, "subject": [3]},
        {**GOOD, "release": "sha256:x"},
        {"subject": GOOD["subject"], "type": "t", "predicate_file": "absent"},
        "[" * 5000,
    ],
)
def test_a_wrong_line_is_its_own_outcome(
    tmp_path: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture, line: object
) -> None:
    file = write(tmp_path, {**GOOD, "release": DIGEST}, line, {**GOOD, "release": DIGEST})
    assert main(["sign", "batch", file, "--socket", path]) == 2
    assert ["ok" in entry for entry in outcomes(capfdbinary)] == [True, False, True]
    assert len(asked) == 2


def test_more_lines_than_go_together_keep_their_order(
    tmp_path: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    lines = [
        {**GOOD, "release": DIGEST, "predicate": {"n": number}} if number % 5 else "wrong"
        for number in range(100)
    ]
    assert main(["sign", "batch", write(tmp_path, *lines), "--socket", path]) == 2
    got = outcomes(capfdbinary)
    assert [line["index"] for line in got] == list(range(100))
    assert ["ok" in line for line in got] == [bool(number % 5) for number in range(100)]
    assert [json.loads(item["predicate"])["n"] for item in asked] == [n for n in range(100) if n % 5]


def test_a_table_is_a_line_each(tmp_path: Path, path: str, capfdbinary: Capture) -> None:
    file = write(tmp_path, {**GOOD, "release": DIGEST}, GOOD)
    assert main(["sign", "batch", file, "--output", "table", "--socket", path]) == 3
    first, second = capfdbinary.readouterr().out.splitlines()
    assert first == b"0  signed, bundle " + b"cc" * 32
    assert second.startswith(b"1  release.untrusted (digest_missing)")


def test_a_table_counts_messages(tmp_path: Path, path: str, capfdbinary: Capture) -> None:
    file = write(tmp_path, GOOD)
    arguments = ["sign", "batch", file, "--release", DIGEST, "--profile", "cose", "--output", "table"]
    assert main([*arguments, "--socket", path]) == 0
    assert capfdbinary.readouterr().out.split() == [b"0", b"signed,", b"COSE", b"messages", b"2"]


def test_a_bar_is_shown_on_a_terminal(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert (
        main(["sign", "batch", write(tmp_path, *[{**GOOD, "release": DIGEST}] * 40), "--socket", path]) == 0
    )
    assert terminal.getvalue().endswith("] 40/40\n")
    assert len(outcomes(capfdbinary)) == 40


def test_an_empty_file_is_nothing_to_do(tmp_path: Path, path: str, capfdbinary: Capture) -> None:
    assert main(["sign", "batch", write(tmp_path), "--socket", path]) == 0
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize("name", ["absent", "."])
def test_what_is_no_file_is_exit_code_2(tmp_path: Path, path: str, name: str) -> None:
    assert main(["sign", "batch", str(tmp_path / name), "--socket", path]) == 2
