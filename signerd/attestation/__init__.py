"""Pure functions between bytes and values: canonical JSON, Statements, DSSE envelopes, Sigstore bundles."""
