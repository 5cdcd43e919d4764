"""signerd's key backend for GOST R 34.10-2012 keys, by OpenSSL's GOST engine. References are ``gost:NAME``."""

__version__ = "0.1.0"
