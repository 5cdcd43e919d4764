"""docs/interoperability.md says what the outside verifiers say."""

import pytest

from outside.parts import ROOT
from outside.table import NEEDS, page
from running.stack import SigstoreStack

pytestmark = pytest.mark.needs(*NEEDS)


def test_the_page_is_what_the_verifiers_say(sigstore_stack: SigstoreStack) -> None:
    said = (ROOT / "docs" / "interoperability.md").read_text()
    assert page(sigstore_stack) == said, "make it again: tests/outside/table.py says how"
