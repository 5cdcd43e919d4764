"""signerd's key backend for HMAC by secrets in files. References are ``hmac:NAME``."""

__version__ = "0.1.0"
