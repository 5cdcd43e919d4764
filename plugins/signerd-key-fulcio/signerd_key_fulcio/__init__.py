"""Keyless signing by Fulcio: a certificate for an OIDC identity, a key that lives as long as it (docs/key-fulcio.md)."""

__version__ = "0.1.0"
