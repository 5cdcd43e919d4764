"""The clone's virtual environment: pinned packages (constraints/dev.txt), our own distributions as wheels.

Wheels and not editable installs, because the daemon checks every plugin against its RECORD when it loads it,
and an editable one loads only under `development = true`. Standard library alone: this runs before anything
is installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = [
    "ROOT",
    "VENV",
    "SetupError",
    "bring_up_to_date",
    "cache",
    "distributions",
    "pip",
    "run",
    "say",
    "source_digest",
]

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints" / "dev.txt"
STAMP = VENV / "signerd-setup.json"
# Runs in the environment's own Python, which has flit_core: build backends in a row, one process, no
# isolation, no network.
BUILD = """
import os, sys
from flit_core.buildapi import build_wheel
for folder in sys.argv[2:]:
    os.chdir(folder)
    print(build_wheel(sys.argv[1]))
"""


class SetupError(Exception):
    """A step failed; the text says which, and what can be done about it."""


def say(text: str) -> None:
    """Report progress on stderr: stdout belongs to machine output."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def cache() -> Path:
    """Where a second clone finds it too: $SIGNERD_CACHE, else signerd/ in the user's cache directory."""
    own = os.environ.get("SIGNERD_CACHE")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signerd"


def run(
    what: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a step, named for messages; return its stdout, let stderr through. SetupError if it failed."""
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except OSError as error:
        raise SetupError(f"{what}: {command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise SetupError(f"{what} ended with exit code {done.returncode}; what it said stands above")
    return done.stdout


def pip(*arguments: str) -> None:
    """Run the environment's pip, set up as the user's is, but for a cache of its own unless one is named."""
    environment = {
        "PIP_CACHE_DIR": str(cache() / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    run(
        f"pip {arguments[0]}",
        [str(VENV / "bin/python"), "-m", "pip", "--quiet", *arguments],
        env=environment | os.environ,
    )


def distributions() -> dict[str, Path]:
    """Every distribution of the repository by name, with its pyproject.toml's folder; the root is first."""
    folders = [
        ROOT,
        *sorted(p.parent for pattern in ("*", "plugins/*") for p in ROOT.glob(f"{pattern}/pyproject.toml")),
    ]
    return {"signerd" if folder == ROOT else _name(folder): folder for folder in folders}


def _name(folder: Path) -> str:
    for line in (folder / "pyproject.toml").read_text().splitlines():
        if line.startswith("name = "):
            return line.split('"')[1]
    raise SetupError(f"{folder / 'pyproject.toml'} has no name")


def source_digest(name: str, folder: Path) -> str:
    """SHA-256 over what goes into the wheel: names and bytes of package, pyproject, README and LICENSE."""
    package = folder / name.replace("-", "_")
    files = [
        folder / "pyproject.toml",
        *(ROOT / extra for extra in ("README.md", "LICENSE") if folder == ROOT),
    ]
    files += sorted(
        Path(at) / file
        for at, _, found in os.walk(package)
        if not at.endswith("__pycache__")
        for file in found
    )
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes() if file.exists() else b""
        digest.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def bring_up_to_date() -> None:
    """Make or mend .venv: all when pins or Python changed, else the distributions whose sources did."""
    base = f"{sys.version} {sys.base_prefix} {hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()}"
    wanted = {name: source_digest(name, folder) for name, folder in distributions().items()}
    stamp = _stamp()
    if stamp.get("base") != base:
        _make_environment()
        stamp = {"base": base}
        _write(stamp)
    changed = [name for name, digest in wanted.items() if stamp.get(name) != digest]
    gone = [name for name in stamp if name not in {*wanted, "base"}]
    if gone:
        pip("uninstall", "--yes", *gone)
    if changed:
        _install(changed)
    if gone or changed:
        _write({"base": base, **wanted})


def _stamp() -> dict[str, str]:
    try:
        loaded: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return loaded


def _write(stamp: dict[str, str]) -> None:
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1))
    part.replace(STAMP)


def _make_environment() -> None:
    say("making .venv from constraints/dev.txt")
    # Not sys.executable: that may be the very environment that is about to go, or another active one.
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        run("python3 -m venv", [str(python), "-m", "venv", str(VENV)])
    except SetupError as error:
        raise SetupError(f"{error} (on Debian the package python3-venv makes this work)") from error
    pip("install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(CONSTRAINTS))


def _install(names: list[str]) -> None:
    say(f"installing {', '.join(names)}")
    folders = distributions()
    with tempfile.TemporaryDirectory(prefix="signerd-wheels-") as wheels:
        # Pinned, so that the same sources make the same wheel, byte for byte.
        fixed = {**os.environ, "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "1577836800")}
        built = run(
            "building the wheels",
            [str(VENV / "bin/python"), "-c", BUILD, wheels, *(str(folders[name]) for name in names)],
            env=fixed,
        )
        paths = [str(Path(wheels) / line) for line in built.split()]
        pip("install", "--no-deps", "--no-index", "--force-reinstall", *paths)
