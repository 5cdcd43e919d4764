"""Configuration of daemons that publish: in the real log and by the real timestamp server of the stack, or doubles."""

from pathlib import Path

from running.configured import configuration

__all__ = ["log_table", "publishing", "stamp_table"]


def log_table(url: str, public_key: Path, *, name: str = "rekor", needed: bool = True, more: str = "") -> str:
    """``[publishers.NAME]`` of one Rekor v2 log. ``more`` are further lines of its settings."""
    return f"""
[publishers.{name}]
plugin = "log-rekor"
kind = "log"
certificate = "none"
needed = {str(needed).lower()}
[publishers.{name}.settings]
shards = [{{ url = "{url}", public_key = "{public_key}" }}]
{more}
"""


def stamp_table(url: str, chain: Path, *, more: str = "") -> str:
    """``[publishers.tsa]`` of one timestamp authority."""
    return f"""
[publishers.tsa]
plugin = "stamp-rfc3161"
kind = "stamp"
certificate = "none"
[publishers.tsa.settings]
url = "{url}"
chain = "{chain}"
{more}
"""


def publishing(base: Path, *tables: str, **limits: float) -> str:
    """A whole configuration with these publishers."""
    return configuration(base, limits) + "".join(tables)
