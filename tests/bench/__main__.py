"""Entry point of ``scripts/bench``: puts ``tests`` on this process's path and runs the benchmark.

The path is set here and not in the environment, which the daemon under test would inherit.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.harness import main  # noqa: E402  (the path comes first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
