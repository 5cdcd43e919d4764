"""Pure functions between bytes and values: canonical JSON, in-toto Statements, DSSE envelopes, Sigstore bundles."""
