"""Rekor v2 as a transparency log of signerd."""

__version__ = "0.1.0"
