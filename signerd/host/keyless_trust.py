"""The files that a keyless key is trusted by, read: the authority's certificates, the keys of the CT logs."""

from pathlib import Path

from signerd.host.config import ConfigError, read_text
from signerd.host.config_keyless import Keyless
from signerd.host.tables import quoted
from signerd.verification.keyless import KeylessTrust

__all__ = ["read_trust"]


def read_trust(key: str, keyless: Keyless) -> KeylessTrust:
    """Return what vouches for the certificates of ``key``.

    Raises ConfigError. The files must be such as the configuration itself: whoever may write one decides who signs.
    """
    ca = read_text(Path(keyless.ca)).encode()
    logs = keyless.ct_log_keys
    try:
        return KeylessTrust.read(ca, None if logs is None else [read_text(Path(log)).encode() for log in logs])
    except ValueError as exc:
        raise ConfigError([f"keys.{quoted(key)}.keyless: {exc}"]) from exc
