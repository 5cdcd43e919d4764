import json
import tomllib

import pytest

from signerd.cli.enrol import snippet
from signerd.cli.main import main
from signerd.host.config import load
from signerd.wire.worker_calls import EnrolResult

PLUGINS = "auth-peercred entitlement-file predicates-intoto release-allowlist".split()


@pytest.fixture
def config(authenticator, tmp_path):
    def write(more="", **settings):
        table = {"state": str(tmp_path / "fido2"), "device": authenticator.place, "rp_id": "signer.example", **settings}
        lines = [
            "[daemon]", f'state = "{tmp_path}/state"',
            *[f'[plugins.{name}]\ncertificate = "none"' for name in PLUGINS],
            '[backends.touch]\nscheme = "fido2"\ncertificate = "none"\n[backends.touch.settings]',
            *[f"{name} = {json.dumps(value)}" for name, value in table.items()],
            '[backends.files]\nscheme = "file"\ncertificate = "none"',
            f'[backends.files.settings]\ndirectory = "{tmp_path}/keys"',
            '[tenants.local]\nkeys = ["file:default"]\n[keys."file:default"]\nbackend = "files"\ntenant = "local"',
            more,
        ]  # fmt: skip
        path = tmp_path / "signerd.toml"
        path.write_text("\n".join(lines))
        return path

    return write


def enrol(capsys, config, *arguments):
    status = main(["keys", "enrol-fido2", "--config", str(config), *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_credential_is_enrolled_and_its_configuration_printed(capsys, config, authenticator):
    path = config(origin="https://signer.example", user_verification=False)
    status, out, err = enrol(capsys, path, "fido2:alice", "--output", "table")
    assert (status, authenticator.asked) == (0, 2), err
    assert "touch the authenticator" in err
    assert out.startswith("# FIDO2-ES256 sha256:")
    assert tomllib.loads(out) == {
        "keys": {
            "fido2:alice": {
                "backend": "touch",
                "tenant": "local",
                "rp_id": "signer.example",
                "origin": "https://signer.example",
            }
        }
    }


def test_a_program_reads_json(capsys, config, authenticator):
    status, out, err = enrol(capsys, config(), "fido2:unwrap/alice", "--backend", "touch")
    told = json.loads(out)
    assert (status, told["key"], told["backend"], told["algorithm"]) == (0, "fido2:unwrap/alice", "touch", "ES256"), err
    assert (told["aaguid"], told["counter"]) == ("5159eb8e-0000-4000-8000-736967646572", 1)


def test_a_key_that_signs_in_the_authenticator_is_enrolled_where_that_is_allowed(capsys, config, authenticator):
    status, _, err = enrol(capsys, config(), "fido2:raw/alice")
    assert (status, "key.forbidden (raw_sign_off)" in err) == (3, True)
    status, _, err = enrol(capsys, config(raw_sign=True), "fido2:raw/alice")
    assert (status, "key.algorithm_refused (raw_not_offered)" in err) == (3, True)
    authenticator.extensions = ("previewSign",)
    status, out, err = enrol(capsys, config(raw_sign=True), "fido2:raw/alice", "--output", "table")
    assert (status, authenticator.asked) == (0, 2), err
    assert out.startswith("# ES256 sha256:")
    assert tomllib.loads(out) == {"keys": {"fido2:raw/alice": {"backend": "touch", "tenant": "local"}}}


def test_what_the_backend_refuses_ends_the_command(capsys, config, authenticator):
    assert enrol(capsys, config(), "fido2:alice")[0] == 0
    status, out, err = enrol(capsys, config(), "fido2:alice")
    assert (status, out) == (3, "")
    assert "key.forbidden (exists)" in err
    status, _, err = enrol(capsys, config(), "fido2:bob", "--algorithm", "ES256")
    assert (status, "key.algorithm_refused (unknown_algorithm)" in err) == (3, True)
    authenticator.touched_at_once = False
    status, _, err = enrol(capsys, config(touch_s=1), "fido2:bob")
    assert (status, "key.backend_unavailable (no_touch): nobody has touched the" in err) == (10, True)


def test_which_backend(capsys, config):
    status, _, err = enrol(capsys, config(), "fido2:alice", "--backend", "nobody")
    assert (status, "no_backend" in err, "touch the" in err) == (4, True, False)
    status, _, err = enrol(capsys, config(), "file:alice", "--backend", "files")
    assert (status, "no_enrolment" in err, "touch the" in err) == (2, True, False)
    second = '[backends.more]\nscheme = "fido2"\ncertificate = "none"\nsettings = {}'
    status, _, err = enrol(capsys, config(second), "fido2:alice")
    assert (status, "ambiguous_backend" in err) == (4, True)


def test_a_worker_that_does_not_start_is_said(capsys, config, monkeypatch):
    monkeypatch.setattr("signerd.cli.enrol.START_S", 2.0)
    status, _, err = enrol(capsys, config(touch_s=0), "fido2:alice")
    assert (status, "key.backend_unavailable (no_worker)" in err) == (10, True)


def test_the_configuration_says_what_assertions_are_verified_by(config):
    made = EnrolResult(
        algorithm="FIDO2-Ed25519", keyid="sha256:00", spki=b"", rp_id='a"b', user_verification=True
    )  # fmt: skip
    more = '[tenants.other]\nkeys = ["file:other"]\n[keys."file:other"]\nbackend = "files"\ntenant = "other"'
    text = snippet(load(config(more)), "touch", "fido2:alice", made)
    (key,) = tomllib.loads(text)["keys"].values()
    assert key == {"backend": "touch", "tenant": "", "rp_id": 'a"b', "user_verification": True}
