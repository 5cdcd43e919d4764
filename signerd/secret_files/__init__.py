"""Secrets on disk, for whoever holds one: read only where nobody else could have read or put them, written to last."""
