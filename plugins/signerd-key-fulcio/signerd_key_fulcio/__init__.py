"""Keyless signing by Fulcio: certificates for OIDC identities, keys that live as long as they (docs/key-fulcio.md)."""

__version__ = "0.1.0"
