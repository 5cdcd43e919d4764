"""What all test folders share: outside parts that a test needs (tests/outside/needs.py)."""

pytest_plugins = ["outside.needs"]
