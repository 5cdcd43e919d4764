import pytest

from signerd_key_fulcio.settings import KeySettings, TokenSource, understand

GOOD: dict[str, object] = {
    "url": "https://fulcio.example/",
    "ca": "/etc/ca.pem",
    "ct_log_keys": ["/etc/ct.pem"],
    "keys": {"ci": {"token": "request", "issuers": ["https://issuer.example"]}},
}


def test_the_defaults() -> None:
    settings = understand(GOOD)
    assert (settings.url, settings.audience, settings.ct_log_keys) == (
        "https://fulcio.example", "sigstore", ("/etc/ct.pem",),
    )  # fmt: skip
    assert settings.keys == {
        "ci": KeySettings(TokenSource("request"), frozenset({"https://issuer.example"}), None)
    }


@pytest.mark.parametrize(
    ("token", "source"),
    [
        ("github", TokenSource("github")),
        ("gitlab", TokenSource("gitlab")),
        ("env:MY_TOKEN", TokenSource("env", "MY_TOKEN")),
        ("file:/run/token", TokenSource("file", "/run/token")),
        ("spiffe:/run/svid", TokenSource("spiffe", "/run/svid")),
    ],
)
def test_sources_of_tokens(token: str, source: TokenSource) -> None:
    keys = {"ci": {"token": token, "issuers": ["https://issuer.example"]}}
    assert understand({**GOOD, "keys": keys}).keys["ci"].token == source


@pytest.mark.parametrize("url", ["http://127.0.0.1:5555", "http://localhost:1", "http://[::1]:1", "https://fulcio"])
def test_a_token_leaves_the_host_encrypted_or_not_at_all(url: str) -> None:
    assert understand({**GOOD, "url": url}).url == url


def test_without_a_ct_log_the_operator_says_so() -> None:
    settings = {**GOOD, "ct_log": "none"}
    del settings["ct_log_keys"]
    assert understand(settings).ct_log_keys is None


KEY = {"token": "request", "issuers": ["https://issuer.example"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://fulcio.example"}, "url: an https URL"),
        ({"url": "https://user@fulcio.example"}, "url: an https URL"),
        ({"url": "https://fulcio.example/?x=1"}, "url: an https URL"),
        ({"url": "ftp://127.0.0.1"}, "url: an https URL"),
        ({"url": None}, "url: a text"),
        ({"ca": "ca.pem"}, "ca: an absolute path"),
        ({"ca": None}, "ca: an absolute path"),
        ({"ct_log_keys": []}, "at least one"),
        ({"ct_log_keys": None}, "ct_log_keys: a list"),
        ({"ct_log": "none"}, "ct_log_keys: a list"),
        ({"ct_log_keys": None, "ct_log": "no"}, "ct_log_keys: a list"),
        ({"audience": ""}, "audience"),
        ({"timeout_s": 0}, "timeout_s: seconds"),
        ({"timeout_s": 60}, "timeout_s: seconds"),
        ({"margin_s": True}, "margin_s: seconds"),
        ({"tls_ca": "x"}, "tls_ca"),
        ({"colour": 1}, "colour: unknown key"),
        ({"keys": {}}, "keys: a table"),
        ({"keys": {"a b": KEY}}, "a name of letters"),
        ({"keys": {"ci": 1}}, "keys.ci: a table"),
        ({"keys": {"ci": {**KEY, "x": 1}}}, "keys.ci.x: unknown key"),
        ({"keys": {"ci": {"token": "request"}}}, "keys.ci.issuers: a list"),
        ({"keys": {"ci": {**KEY, "identity": ""}}}, "keys.ci.identity"),
        *(
            ({"keys": {"ci": {**KEY, "token": token}}}, "keys.ci.token")
            for token in ("", "x", "file", "file:x", "env:", "env:A B", "github:x", "request:", 1, None)
        ),
    ],
)
def test_what_is_not_understood_is_said_in_a_sentence(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        understand({**GOOD, **change})
