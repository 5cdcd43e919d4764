from pathlib import Path

import pytest

from fakes.publishers import LogDouble
from signerd.contracts.providers import TransparencyLog
from signerd_log_rekor.plugin import signerd_transparency_logs


def test_it_introduces_a_log(tmp_path: Path) -> None:
    double = LogDouble(tmp_path)
    double.server.close()
    made = signerd_transparency_logs(double.settings())
    assert isinstance(made, TransparencyLog)
    assert made.kind == "log"


def test_settings_that_it_does_not_understand_are_refused() -> None:
    with pytest.raises(ValueError, match="shards"):
        signerd_transparency_logs({})
