"""What all test folders share: outside parts that a test needs, a running daemon, and a client of it."""

pytest_plugins = ["outside.needs", "running.daemon", "running.client"]
