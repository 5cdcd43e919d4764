import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd.network.exchange import Answer, Unanswered
from signerd_key_fulcio.settings import TokenSource
from signerd_key_fulcio.tokens import Tokens

GITHUB = TokenSource("github")
URL, BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"


Asked = tuple[str, str, list[tuple[str, str]]]


def answer_of(status: int, body: bytes, kind: str = "application/json") -> Answer:
    return Answer(status, {"content-type": kind}, body)


GIVEN = answer_of(200, b'{"value": "a.b.c"}')


def tokens(answer: Callable[[], Answer] = lambda: GIVEN, asked: list[Asked] | None = None) -> Tokens:
    """Answered without a network; what was asked goes into ``asked``."""

    def ask(method, url, most, body, headers):
        (asked if asked is not None else []).append((method, url, list(headers)))
        return answer()

    return Tokens(ask, "sigstore")


def refused(source: TokenSource, given: Tokens | None = None) -> tuple[str, str]:
    with pytest.raises(SignerdError) as caught:
        (given or tokens()).read(source)
    assert "of the job" not in f"{caught.value}{caught.value.public}"
    return caught.value.code, caught.value.reason


def test_a_file_is_read_without_its_last_newline_and_marked_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenSource("file", str(file))
    assert tokens().mark(source) is None
    assert refused(source) == ("key.forbidden", "token_missing")
    file.write_text("a.b.c\n")
    assert tokens().read(source) == "a.b.c"
    first = tokens().mark(source)
    assert first == tokens().mark(source)
    file.write_text("d.e.f.g\n")
    assert first != tokens().mark(source)


def test_a_file_that_is_not_to_be_trusted_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenSource("spiffe", str(file))
    file.write_text("a.b.c")
    file.chmod(0o646)
    assert refused(source) == ("key.backend_fault", "token_file")
    file.chmod(0o600)
    file.write_text("x" * 20_000)
    assert refused(source) == ("key.backend_fault", "token_file")
    file.write_text(" \n")
    assert refused(source) == ("key.forbidden", "token_missing")
    file.unlink()
    os.mkfifo(file)
    assert refused(source) == ("key.backend_fault", "token_file")
    assert refused(TokenSource("file", str(tmp_path))) == ("key.backend_fault", "token_file")


@pytest.mark.parametrize(
    ("source", "name"), [(TokenSource("env", "MINE"), "MINE"), (TokenSource("gitlab"), "SIGSTORE_ID_TOKEN")]
)
def test_a_variable(source: TokenSource, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    assert refused(source) == ("key.forbidden", "token_missing")
    monkeypatch.setenv(name, "a.b.c")
    assert tokens().read(source) == tokens().mark(source) == "a.b.c"


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "https://github.example/token?v=2")
    monkeypatch.setenv(BEARER, "of the job")


@pytest.mark.usefixtures("job")
def test_github_is_asked_for_a_token_of_our_audience() -> None:
    asked: list[Asked] = []
    assert tokens(asked=asked).read(GITHUB) == "a.b.c"
    ((method, url, headers),) = asked
    assert (method, url) == ("GET", "https://github.example/token?v=2&audience=sigstore")
    assert ("Authorization", "bearer of the job") in headers


def unanswered() -> Answer:
    raise Unanswered("timeout", "nobody")


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (unanswered, "key.backend_unavailable"),
        (lambda: answer_of(403, b"{}"), "key.backend_fault"),
        (lambda: answer_of(302, b"", "text/html"), "key.backend_fault"),
        (lambda: answer_of(200, b"<html>", "text/html"), "key.backend_fault"),
        (lambda: answer_of(200, b"[]"), "key.backend_fault"),
        (lambda: answer_of(200, json.dumps({"value": 1}).encode()), "key.backend_fault"),
        (lambda: answer_of(200, b"[" * 100_000), "key.backend_fault"),
    ],
)
def test_what_github_does_not_give_is_a_fault(answer: Callable[[], Answer], code: str) -> None:
    assert refused(GITHUB, tokens(answer)) == (code, "ambient")


def test_where_there_is_no_job_there_is_no_token(monkeypatch: pytest.MonkeyPatch, job: None) -> None:
    monkeypatch.setenv(URL, "http://elsewhere.example/")
    assert refused(GITHUB) == ("key.backend_fault", "ambient")
    monkeypatch.delenv(URL)
    assert refused(GITHUB) == ("key.forbidden", "token_missing")
