"""signerd's key backend for keys in PKCS#8 PEM files. References are ``file:NAME``."""

__version__ = "0.1.0"
