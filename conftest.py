"""What all test folders share: outside parts that a test needs, and a running daemon."""

pytest_plugins = ["outside.needs", "running.daemon"]
