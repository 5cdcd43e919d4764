"""What every test folder of the repository shares: outside parts that a test needs (tests/outside/needs.py)."""

pytest_plugins = ["outside.needs"]
