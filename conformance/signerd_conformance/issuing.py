"""``--sign``: what the command line asks for, and the certificate at the end of a run."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from signerd.host.certificate import Case
from signerd_conformance.certifier import CertifierKey
from signerd_conformance.certify import Judgeable, certificate, judged_binary, judged_distribution

__all__ = ["Issuing", "add_options", "begin"]


def add_options(parser: argparse.ArgumentParser, *, binary: bool) -> None:
    """Add the options of a certificate to a command's parser; ``binary``: a single file may be certified."""
    group = parser.add_argument_group("certificate", "made where no case failed or was skipped that is not optional")
    group.add_argument("--sign", type=Path, metavar="KEY", help="sign with this private key (PKCS#8 in PEM)")
    group.add_argument(
        "--password-file", type=Path, metavar="FILE", help="opens an encrypted key; else its password is asked for"
    )
    group.add_argument("--certificate", type=Path, metavar="FILE", help="write the certificate there")
    group.add_argument("--distribution", metavar="NAME", help="certify this installed distribution")
    if binary:
        group.add_argument("--file", type=Path, metavar="PATH", help="certify this program, which no pip installed")


@dataclass(frozen=True, slots=True)
class Issuing:
    """A certificate to be made: what is judged, as it was before the run, and where the certificate goes."""

    key: CertifierKey
    judged: Judgeable
    to: Path
    file: Path | None
    started: datetime.datetime

    def finish(self, cases: Sequence[Case], contract: str) -> bool:
        """Write the certificate, or say on standard error why there is none; whether there is one.

        Raises OSError where it cannot be written, LoadError where the distribution can no longer be read.
        """
        try:
            if self.judged != _judged(self.file, self.judged):
                raise ValueError("no certificate: the files were changed while they were judged")
            finished = datetime.datetime.now(datetime.UTC)
            made = certificate(self.judged, cases, contract, (self.started, finished), self.key)
        except ValueError as exc:
            print(f"signerd-conformance: {exc}", file=sys.stderr)
            return False
        self.to.write_bytes(made)
        print(f"certified by {self.key.public.keyid}: {self.to}", file=sys.stderr)
        return True


def _judged(file: Path | None, before: Judgeable) -> Judgeable:
    if before.distribution is None:
        assert file is not None
        return judged_binary(file)
    known = before.distribution
    return judged_distribution(known.name, known.group, known.entry_point)


def begin(options: argparse.Namespace, group: str, entry_point: str) -> Issuing | None:
    """Read key and files before the run; None where no certificate is asked for.

    Raises ValueError for options that do not fit together, a key that cannot be used and files that cannot be
    certified; OSError.
    """
    file = getattr(options, "file", None)
    wanted = [options.certificate, options.distribution, file, options.password_file]
    if options.sign is None:
        if any(wanted):
            raise ValueError("--certificate, --distribution, --file and --password-file go with --sign")
        return None
    if options.certificate is None or (options.distribution is None) == (file is None):
        raise ValueError("--sign needs --certificate, and what to certify: --distribution or --file")
    key = CertifierKey.read(options.sign, options.password_file)
    judged = judged_distribution(options.distribution, group, entry_point) if file is None else judged_binary(file)
    return Issuing(key, judged, options.certificate, file, datetime.datetime.now(datetime.UTC))
