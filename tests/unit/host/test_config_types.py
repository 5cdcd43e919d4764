import msgspec
import pytest

from signerd.host import config_types


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("Name", "file.v2-a_b", "File"),
        ("Name", "a" * 64, "a" * 65),
        ("KeyReference", "pkcs11:token=a;object=b", "file:"),
        ("KeyReference", "file:release", "file:re lease"),
        ("Certificate", "none", "certificate.json"),
        ("Certificate", "/etc/signerd/certificate.json", "/etc/\0"),
        ("Uid", 0, 2**32 - 1),
        ("Seconds", 0.05, 0),
        ("Count", 1, 0),
        ("Bytes", config_types.GIB, config_types.GIB + 1),
    ],
)
def test_a_value_is_taken_or_refused_whole(kind, good, bad):
    wanted = getattr(config_types, kind)
    assert msgspec.convert(good, wanted) == good
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, wanted)


@pytest.mark.parametrize(
    ("kind", "value"), [("Name", "file\n"), ("KeyReference", "file:a\n"), ("Certificate", "none\n")]
)
def test_no_value_ends_with_a_line_feed(kind, value):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, getattr(config_types, kind))
