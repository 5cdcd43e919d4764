"""signerd's key backend for keys in PKCS#11 tokens. References are RFC 7512 URIs."""

__version__ = "0.1.0"
