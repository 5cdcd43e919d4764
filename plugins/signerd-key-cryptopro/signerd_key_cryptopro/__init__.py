"""signerd's key backend for keys of CryptoPro CSP: by its PKCS#11 module, or by its command-line tool."""

__version__ = "0.1.0"
