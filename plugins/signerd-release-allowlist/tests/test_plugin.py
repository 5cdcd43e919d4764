import os

import pytest

from signerd.contracts.providers import ReleaseCheck
from signerd.contracts.values import Principal, Release
from signerd.errors import SignerdError
from signerd_release_allowlist.plugin import signerd_release_checks

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
WHO = Principal("uid:1", "local", frozenset(), "test")


def check(settings):
    (made,) = signerd_release_checks(settings)
    assert isinstance(made, ReleaseCheck)
    return made


def refused(made, digest):
    with pytest.raises(SignerdError) as caught:
        made.check(digest, WHO)
    return caught.value.code, caught.value.reason


def test_what_is_listed_is_a_release_with_the_version_of_its_entry():
    made = check({"releases": [{"digest": ONE, "version": "2026.11"}, {"digest": TWO}]})
    assert made.check(ONE, WHO) == Release(ONE, "allowlist", "2026.11")
    assert made.check(TWO, WHO) == Release(TWO, "allowlist", None)


def test_an_empty_list_clears_nothing():
    assert refused(check({}), ONE) == ("release.untrusted", "not_listed")


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "1" * 64,
        "sha256:" + "1" * 63,
        ONE + "\n",
        ONE.upper(),
        "sha512:" + "1" * 128,
        "sha256:" + "g" * 64,
    ],
)
def test_a_digest_out_of_shape_is_refused_as_such(digest):
    assert refused(check({"releases": [{"digest": ONE}]}), digest) == (
        "release.untrusted",
        "digest_malformed",
    )


def test_a_file_is_read_again_when_it_changes_and_clears_nobody_while_it_is_broken(tmp_path):
    file = tmp_path / "releases.toml"

    def write(text, when):
        file.write_text(text)
        file.chmod(0o600)
        os.utime(file, (when, when))

    write(f'releases = [{{digest = "{ONE}", version = "2026.01"}}]', 1)
    made = check({"file": str(file)})
    assert made.check(ONE, WHO).version == "2026.01"
    write(f'releases = [{{digest = "{TWO}"}}]', 2)
    assert refused(made, ONE) == ("release.untrusted", "not_listed")
    assert made.check(TWO, WHO).digest == TWO
    write("releases = [", 3)
    assert refused(made, TWO) == ("release.unavailable", "file_unusable")
    file.unlink()
    assert refused(made, TWO) == ("release.unavailable", "file_unusable")
    write(f'releases = [{{digest = "{TWO}"}}]', 4)
    file.chmod(0o666)
    assert refused(made, TWO) == ("release.unavailable", "file_unusable")
    file.chmod(0o600)
    assert made.check(TWO, WHO).digest == TWO


@pytest.mark.parametrize(
    ("settings", "expectation"),
    [
        ({"release": []}, "unknown field `release`"),
        ({"releases": [{"digest": "abc"}]}, "matching regex"),
        ({"releases": [{"version": "2026.11"}]}, "missing required field `digest`"),
        ({"releases": [{"digest": ONE, "version": "2026.13"}]}, "matching regex"),
        ({"releases": [{"digest": ONE}, {"digest": ONE, "version": "2026.11"}]}, "twice"),
        ({"releases": [{"digest": ONE, "name": "x"}]}, "unknown field `name`"),
        ({"file": "relative.toml"}, "matching regex"),
        ({"file": "/nonexistent/releases.toml"}, "No such file"),
        ({"file": "/dev/null"}, "expected a regular file"),
        ({"file": "/x", "releases": [{"digest": ONE}]}, "expected one of releases and file"),
    ],
)
def test_settings_out_of_shape_are_refused(settings, expectation):
    with pytest.raises(ValueError, match=expectation):
        signerd_release_checks(settings)
