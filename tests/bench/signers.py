"""The row about several signers of one Statement: what a second one costs."""

import tempfile
from pathlib import Path

from bench.load import Sample
from bench.peers import RELEASE
from bench.rows import pair_rows, sample_row
from bench.run import Run, say
from bench.templates import sign_dsse

__all__ = ["two_signers"]

_PAYLOAD_BYTES = 2048
_IN_FLIGHT = 8
_KEYS = ("file:one", "file:two")


def two_signers(run: Run) -> None:
    """Statements a second with two ES256 signers each, against the same daemon's with one of them."""
    both: list[Sample] = []
    one: list[Sample] = []
    with (
        tempfile.TemporaryDirectory(dir=run.directory) as directory,
        run.fresh_daemon(_configuration(Path(directory))) as daemon,
    ):
        for _ in range(run.plan.pairs):
            both.append(run.take(daemon, sign_dsse(_PAYLOAD_BYTES, RELEASE, *_KEYS), _IN_FLIGHT).sample)
            run.verify_last(daemon, *_KEYS)
            one.append(run.take(daemon, sign_dsse(_PAYLOAD_BYTES, RELEASE, _KEYS[0]), _IN_FLIGHT).sample)
    row = pair_rows(sample_row("signers", both), both, one)
    if row.ratio:
        cost = round(1 / row.ratio, 2)
        row.detail["cost_of_two"] = cost
        say(f"  signers: two cost {cost} times one")
    run.rows.append(row)


def _configuration(folder: Path) -> str:
    """A daemon with two software keys in `folder`, else as on embedded defaults."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    plugins = "".join(
        f'[plugins.{name}]\ncertificate = "none"\n'
        for name in ("auth-peercred", "entitlement-file", "predicates-intoto")
    )
    tables = "".join(
        f'[keys."{key}"]\nbackend = "file"\ntenant = "local"\ngenerate = "ES256"\n' for key in _KEYS
    )
    return f"""
{plugins}
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{keys}" }}
[tenants.local]
keys = ["{_KEYS[0]}", "{_KEYS[1]}"]
default_key = "{_KEYS[0]}"
{tables}
"""
