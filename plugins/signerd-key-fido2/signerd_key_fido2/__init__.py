"""signerd's key backend for FIDO2 authenticators: approvals by touch, and software keys that a touch unwraps."""

__version__ = "0.1.0"
