"""RFC 3161 timestamp authorities as publishers of signerd."""

__version__ = "0.1.0"
