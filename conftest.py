"""What all test folders share: outside parts that a test needs, a running daemon, a client of it, and tokens."""

pytest_plugins = ["outside.needs", "running.daemon", "running.client", "running.keyless", "fakes.tokens"]
