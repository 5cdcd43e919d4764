"""Stock cosign against the local stack: its trusted root, its signing config, and no way to the network."""

import datetime
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from outside.parts import the
from running.stack import SigstoreStack

__all__ = ["COSIGNS", "cosign", "signing_config", "trusted_root"]

COSIGNS = ("cosign", "cosign-3-0", "cosign-2-6")
"""Every line of cosign that is built here, newest first."""


def cosign(
    arguments: Sequence[str | Path], home: Path, *, name: str = "cosign"
) -> "subprocess.CompletedProcess[str]":
    """Run one of COSIGNS with a home that has no trust root of an earlier run, and proxies that lead nowhere."""
    nowhere = {"HOME": str(home), "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.run(
        [the(name), *arguments],
        env=os.environ | nowhere,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _start() -> str:
    """Since when the services are said to exist: before the test, which may have started a while after them."""
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def trusted_root(stack: SigstoreStack, file: Path) -> Path:
    """`cosign trusted-root create` for the stack."""
    start = _start()
    # Without origin= the log id of a Rekor v2 would be wrong.
    rekor = f"url={stack.rekor.url},public-key={stack.rekor.public_key},start-time={start},origin={stack.rekor.origin}"
    command: list[str | Path] = ["trusted-root", "create", "--out", file]
    command += ["--fulcio", f"url={stack.fulcio.url},certificate-chain={stack.fulcio.authority.chain}"]
    command += ["--ctfe", f"url={stack.ct_log.url},public-key={stack.ct_log.public_key},start-time={start}"]
    command += ["--rekor", rekor, "--tsa", f"url={stack.tsa.url},certificate-chain={stack.tsa.authority.chain}"]
    done = cosign(command, file.parent)
    assert done.returncode == 0, done.stderr
    return file


def signing_config(stack: SigstoreStack, file: Path) -> Path:
    """`cosign signing-config create` for the stack: any one log, any one stamp."""
    told = f"start-time={_start()},operator=tests"
    command: list[str | Path] = ["signing-config", "create", "--out", file]
    command += ["--fulcio", f"url={stack.fulcio.url},api-version=1,{told}"]
    command += ["--oidc-provider", f"url={stack.issuer.url()},api-version=1,{told}"]
    command += ["--rekor", f"url={stack.rekor.url},api-version=2,{told}", "--rekor-config", "ANY"]
    command += ["--tsa", f"url={stack.tsa.url},api-version=1,{told}", "--tsa-config", "ANY"]
    done = cosign(command, file.parent)
    assert done.returncode == 0, done.stderr
    return file
