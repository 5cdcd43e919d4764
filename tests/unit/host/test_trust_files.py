import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.sigstore import Sigstore
from outside.signed import Key
from running.configured import configuration
from signerd.host.config import ConfigError, load
from signerd.host.config_model import Config
from signerd.host.trust_files import MOST_BYTES, read_against, read_parts

POLICY = {
    "policyId": "one",
    "version": "1.0.0",
    "predicateTypes": ["https://example.com/t"],
    "signerRequirements": {"trustedIssuers": ["https://issuer.example"]},
}


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Config]:
    def read(text: str) -> Config:
        file = tmp_path / "signerd.toml"
        file.write_text(configuration(tmp_path, {}) + text)
        file.chmod(0o600)
        return load(file)

    return read


def problems(call: Callable[[Any], object], config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        call(config)
    return "\n".join(caught.value.problems)


def test_reads_root_and_policies(configured: Callable[[str], Config], tmp_path: Path) -> None:
    root = Sigstore().trusted_root()
    (tmp_path / "root").write_bytes(root)
    (tmp_path / "policy").write_text(json.dumps(POLICY))
    section = f'[verification]\ntrusted_root = "{tmp_path}/root"\npolicies = ["{tmp_path}/policy"]'
    against = read_against(configured(section))
    assert against.trusted_root == root
    assert list(against.policies) == ["one"]
    nothing = read_against(configured(""))
    assert (nothing.trusted_root, nothing.policies) == (b"", {})


def test_says_all_that_is_wrong_at_once(configured: Callable[[str], Config], tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"{}")
    for name in ("first", "second"):
        (tmp_path / name).write_text(json.dumps(POLICY))
    (tmp_path / "nobody").write_text(json.dumps({**POLICY, "signerRequirements": {}}))
    named = ", ".join(f'"{tmp_path}/{name}"' for name in ("first", "second", "nobody", "missing"))
    config = configured(f'[verification]\ntrusted_root = "{tmp_path}/root"\npolicies = [{named}]')
    said = problems(read_against, config)
    for part in ("trusted_root_media_type", "each policyId once, got one", "policy_trusts_nobody", "No such file"):
        assert part in said


def test_root_and_policies_are_handed_over_together(configured: Callable[[str], Config], tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(Sigstore().trusted_root().ljust(MOST_BYTES))
    (tmp_path / "policy").write_text(json.dumps(POLICY))
    section = f'[verification]\ntrusted_root = "{tmp_path}/root"\n'
    assert read_against(configured(section)).trusted_root
    config = configured(section + f'policies = ["{tmp_path}/policy"]')
    assert f"at most {MOST_BYTES} bytes together" in problems(read_against, config)


def test_parts_that_cannot_be_used_are_named(configured: Callable[[str], Config], tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(Key().pem)
    since = "since = 2026-01-01T00:00:00Z"
    config = configured(
        f'[trust]\nfulcio = [{{ url = "https://f", chain = "{tmp_path}/key", {since} }}]\n'
        f'ct_logs = [{{ url = "https://c", key = "{tmp_path}/key", {since} }}]\n'
        f'rekor = [{{ url = "https://r", key = "{tmp_path}/none", {since} }}]\n'
    )
    said = problems(read_parts, config)
    assert "trust.fulcio[0].chain" in said
    assert "trust.rekor[0].key" in said
    assert "trust.ct_logs" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[trust]\nfulcio = [{ url = "https://f", chain = "c.pem", since = 2026-01-01T00:00:00Z }]', "absolute path"),
        ('[trust]\ntsa = [{ url = "ftp://f", chain = "/c", since = 2026-01-01T00:00:00Z }]', "trust.tsa[0].url"),
        ('[trust]\noidc = [{ url = "https://f", since = 2026-01-01T00:00:00 }]', "trust.oidc[0].since"),
        (
            '[trust]\noidc = [{ url = "https://f", since = 2026-01-01T00:00:00Z, until = 2025-01-01T00:00:00Z }]',
            "trust.oidc[0].until",
        ),
        ("[trust]\nrekor = 5", "trust.rekor: expected an array of tables"),
        ("[trust]\nother = 5", "trust.other: unknown key"),
        ('[trust]\noidc = [{ url = "https://f", since = 2026-01-01T00:00:00Z, key = "/k" }]', "trust.oidc[0].key"),
        ('[verification]\ntrusted_root = "root.json"', "verification.trusted_root"),
        ('[verification]\npolicies = ["/a/../b"]', "verification.policies"),
    ],
)
def test_the_sections_are_checked(text: str, said: str, configured: Callable[[str], Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(text)
    assert said in str(caught.value)
