from pathlib import Path

import pytest

from fakes.publishers import AuthorityDouble
from signerd.contracts.providers import TransparencyLog
from signerd_stamp_rfc3161.plugin import signerd_transparency_logs


def test_it_introduces_an_authority(tmp_path: Path) -> None:
    double = AuthorityDouble(tmp_path)
    double.server.close()
    made = signerd_transparency_logs(double.settings())
    assert isinstance(made, TransparencyLog)
    assert made.kind == "stamp"


def test_settings_that_it_does_not_understand_are_refused() -> None:
    with pytest.raises(ValueError, match="url"):
        signerd_transparency_logs({})
