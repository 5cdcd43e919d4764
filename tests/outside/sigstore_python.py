"""Judge bundles with sigstore-python: python sigstore_python.py ROOT SAN ISSUER BUNDLE …

A line for each bundle: `yes`, or `no` and the reason. A program of its own: the library is heavy, and what it warns of
would fail a test.
"""

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from sigstore.models import Bundle, TrustedRoot  # noqa: E402
from sigstore.verify import Verifier  # noqa: E402
from sigstore.verify.policy import Identity  # noqa: E402


def main() -> None:
    root, san, issuer, *bundles = sys.argv[1:]
    verifier = Verifier(trusted_root=TrustedRoot.from_file(root))
    for path in bundles:
        try:
            bundle = Bundle.from_json(Path(path).read_bytes())
            verifier.verify_dsse(bundle, Identity(identity=san, issuer=issuer))
            said = "yes"
        except Exception as exc:  # noqa: BLE001  # whatever it is, the bundle is not accepted
            said = f"no {type(exc).__name__}: {' '.join(str(exc).split())[:200]}"
        sys.stdout.write(said + "\n")


if __name__ == "__main__":
    main()
