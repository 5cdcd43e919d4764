"""What only this backend knows: its settings, and keys that are not as they should be."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from signerd.errors import SignerdError

from {{ cookiecutter.__package }}.backend import Backend, signerd_key_backends

KEY = "{{ cookiecutter.scheme }}:release"


def put(folder, content, mode=0o600):
    file = folder / "release.pem"
    file.write_bytes(content)
    file.chmod(mode)


def pem(curve, encryption):
    return ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("settings", [{}, {"directory": "keys"}, {"directory": 5}, {"directory": "/keys", "more": 1}])
def test_settings_that_it_does_not_understand_are_refused(settings):
    with pytest.raises(ValueError, match="directory: "):
        signerd_key_backends(settings)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (pem(ec.SECP256R1(), NoEncryption()), 0o640, "file_mode"),
        (pem(ec.SECP256R1(), BestAvailableEncryption(b"password")), 0o600, "pem"),
        (pem(ec.SECP384R1(), NoEncryption()), 0o600, "key_type"),
        (b"no key", 0o600, "pem"),
        (b"", 0o600, "pem"),
    ],
)
def test_a_file_that_holds_no_key_of_ours_is_refused(content, mode, reason, tmp_path):
    put(tmp_path, content, mode)
    with pytest.raises(SignerdError) as caught:
        Backend(tmp_path).describe(KEY)
    assert caught.value.reason == reason


def test_a_key_is_not_followed_to_another_place(tmp_path):
    (tmp_path / "release.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(SignerdError) as caught:
        Backend(tmp_path).describe(KEY)
    assert caught.value.reason == "file"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SignerdError) as caught:
        Backend(tmp_path / "missing").generate(KEY, "ES256")
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "file")


def test_a_new_key_is_closed_to_others_and_alone_in_its_folder(tmp_path):
    Backend(tmp_path).generate(KEY, "ES256")
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("release.pem", 0o600)
