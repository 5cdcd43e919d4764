"""The second process: it alone reaches keys and writes the record (architecture: sign, verify, bundle, record)."""
