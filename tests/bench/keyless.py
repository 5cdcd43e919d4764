"""The row about keyless keys: what a certificate in place of a key costs, once it is there."""

import base64
import json
import tempfile
import time
from pathlib import Path

from bench.caller import Caller
from bench.load import Sample
from bench.peers import RELEASE, Daemon
from bench.rows import pair_rows, sample_row
from bench.run import Run, say
from bench.templates import cyclonedx, sign_dsse, sign_params
from fakes.fulcio import ISSUER, SUBJECT, FakeFulcio, fake_fulcio, jwt
from running.keyless_config import keyless_configuration
from signerd.attestation.bundle import parse_bundle
from signerd.attestation.dsse import Envelope, pae
from signerd.verification.certificates import SigningCertificate

__all__ = ["live_certificate"]

_PAYLOAD_BYTES = 2048
_KEYLESS, _SOFTWARE = "fulcio:ci", "file:default"
_TOKEN_S = 3600


def live_certificate(run: Run, connections: int) -> None:
    """Signatures a second by one live certificate, no log and no stamp, against the same daemon's software key."""
    by_certificate: list[Sample] = []
    by_key: list[Sample] = []
    with tempfile.TemporaryDirectory(dir=run.directory) as directory, fake_fulcio() as fulcio:
        with run.fresh_daemon(_configuration(Path(directory), fulcio)) as daemon:
            _sign_certified(daemon)
            for _ in range(run.plan.pairs):
                keyless, software = (sign_dsse(_PAYLOAD_BYTES, RELEASE, key) for key in (_KEYLESS, _SOFTWARE))
                by_certificate.append(run.take(daemon, keyless, connections).sample)
                by_key.append(run.take(daemon, software, connections).sample)
            _sign_certified(daemon)
        certificates = len(fulcio.asked)
    row = sample_row(f"keyless-{connections}", by_certificate, certificates=certificates)
    row = pair_rows(row, by_certificate, by_key)
    if row.ratio:
        row.detail["to_software_key"] = row.ratio
        say(f"  keyless-{connections}: {row.ratio} of the software key's rate, {certificates} certificates")
    run.rows.append(row)


def _configuration(folder: Path, fulcio: FakeFulcio) -> str:
    ca, log = fulcio.files(folder)
    token = folder / "token"
    token.touch(0o600)
    token.write_text(jwt(exp=int(time.time()) + _TOKEN_S))
    (folder / "state").mkdir(mode=0o700)
    text = keyless_configuration(folder, fulcio.url, ca, log, [ISSUER], keys={"ci": f"file:{token}"})
    return text.replace(f"sha256:{'ab' * 32}", RELEASE)


def _sign_certified(daemon: Daemon) -> None:
    """Have a certificate, and see that what it signs is by the identity that the token gives; raises where not."""
    params = sign_params(cyclonedx(_PAYLOAD_BYTES), RELEASE)
    with Caller(daemon.socket) as caller:
        text = caller.call("sign.dsse", {**params, "options": {"keys": [_KEYLESS]}})["bundles"][0]
    content = parse_bundle(text).content
    raw = json.loads(text)["verificationMaterial"]["certificate"]["rawBytes"]
    leaf = SigningCertificate.read(base64.b64decode(raw))
    assert isinstance(content, Envelope)
    leaf.key.verify(content.signatures[0].sig, pae(content.payload_type, content.payload))
    assert (leaf.san, leaf.issuer) == (SUBJECT, ISSUER)
