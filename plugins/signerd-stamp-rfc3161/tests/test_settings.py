from pathlib import Path

import pytest

from fakes.publishers import AuthorityDouble
from signerd_stamp_rfc3161.settings import read_settings


@pytest.fixture
def chain(tmp_path: Path) -> str:
    double = AuthorityDouble(tmp_path)
    double.server.close()
    return str(double.chain)


def test_the_chain_is_read_with_its_root_last(chain: str) -> None:
    made = read_settings({"url": "https://tsa.example/api/v1/timestamp", "chain": chain})
    assert [one.subject == one.issuer for one in made.authority.chain] == [False, True]
    assert (made.url, made.deadline_s, made.clock_skew_s, made.ca) == (
        "https://tsa.example/api/v1/timestamp", 10.0, 60.0, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://tsa.example"}, "https"),
        ({"url": "tsa.example"}, "url"),
        ({"url": "https://user@tsa.example"}, "url"),
        ({"chain": "relative"}, "absolute"),
        ({"chain": "/absent"}, "chain"),
        ({"chain": "/dev/null"}, "chain"),
        ({"ca": "relative"}, "ca"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, object], said: str, chain: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_settings({"url": "https://tsa.example", "chain": chain, **change})
