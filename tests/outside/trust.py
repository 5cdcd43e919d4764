"""What `signerd trust build` makes of the real stack."""

from pathlib import Path

from running.configured import configuration
from running.stack import SigstoreStack
from signerd.cli.main import main

__all__ = ["SINCE", "UNTIL", "built"]

SINCE, UNTIL = "2025-06-01T00:00:00Z", "2046-06-01T12:30:00Z"
"""When the services are said to exist: the CT log and the timestamp server have an end."""


def built(stack: SigstoreStack, folder: Path, more: str = "") -> tuple[Path, Path]:
    """Trusted root and signing config of the stack; ``more`` is further configuration."""
    file = folder / "signerd.toml"
    file.write_text(
        f"""{configuration(folder, {})}
[trust]
operator = "tests"
oidc = [{{ url = "{stack.issuer.url()}", since = {SINCE} }}]
[[trust.fulcio]]
url = "{stack.fulcio.url}"
chain = "{stack.fulcio.authority.chain}"
since = {SINCE}
[[trust.ct_logs]]
url = "{stack.ct_log.url}"
key = "{stack.ct_log.public_key}"
since = "{SINCE}"
until = {UNTIL}
[[trust.rekor]]
url = "{stack.rekor.url}"
key = "{stack.rekor.public_key}"
origin = "{stack.rekor.origin}"
since = 2025-06-01T02:00:00+02:00
[[trust.tsa]]
url = "{stack.tsa.url}"
chain = "{stack.tsa.authority.chain}"
since = {SINCE}
until = {UNTIL}
{more}"""
    )
    file.chmod(0o600)
    out = folder / "trust"
    assert main(["trust", "build", "--config", str(file), "--out", str(out)]) == 0
    return out / "trusted_root.json", out / "signing_config.json"
