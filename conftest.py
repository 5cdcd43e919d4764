"""What all test folders share: outside parts of tests, a running daemon, a client of it, tokens, and wheels."""

pytest_plugins = [
    "outside.needs", "running.daemon", "running.client", "running.keyless", "running.outsider", "running.service",
    "fakes.gost_tokens", "fakes.tokens", "fakes.plugged",
]  # fmt: skip
