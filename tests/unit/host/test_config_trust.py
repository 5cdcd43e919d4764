from datetime import UTC, datetime

import msgspec
import pytest

from signerd.host.config_trust import Trust, TrustedRekor, TrustedService, Verification

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def test_without_the_sections_nothing_is_trusted() -> None:
    assert (Trust().fulcio, Trust().ct_logs, Trust().rekor, Trust().tsa, Trust().oidc) == ((), (), (), (), ())
    assert Verification() == Verification("", ())


def test_another_process_is_told_the_same() -> None:
    trust = Trust("me", rekor=(TrustedRekor(url="https://r", since=SINCE, until=SINCE, key="/k", origin="r"),))
    assert msgspec.json.decode(msgspec.json.encode(trust), type=Trust) == trust


@pytest.mark.parametrize(
    "wrong",
    [{"url": "r.example"}, {"url": "https://r r"}, {"since": "2026-01-01T00:00:00"}, {"since": "2026-01-01"}],
)
def test_urls_and_times_are_whole(wrong: dict[str, str]) -> None:
    given = {"url": "https://r", "since": "2026-01-01T00:00:00Z"}
    assert msgspec.convert(given, TrustedService).since == SINCE
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**given, **wrong}, TrustedService)
