"""The public-key side: keys, and the checks of bundles and envelopes. No private key is ever seen here."""
