"""signerd: a signing daemon for one host. It signs what it understands, for callers that may ask, on the record."""

__version__ = "0.1.0"
