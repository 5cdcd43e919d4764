"""Makes installed distributions in a folder: packages with a true RECORD, as an installer leaves them."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path,
    name: str,
    files: Mapping[str, str],
    entries: Mapping[str, Mapping[str, str]],
    version: str = "1.2.3",
) -> Path:
    """Write ``files`` and a dist-info with the entry points ``{group: {name: module}}``; return the RECORD's
    path."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    groups = "\n".join(
        f"[{group}]\n" + "\n".join(f"{entry} = {module}" for entry, module in table.items())
        for group, table in entries.items()
    )
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/INSTALLER": "tests\n",
        f"{info}/entry_points.txt": groups + "\n",
    }
    lines = []
    for path, text in everything.items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        file.write_text(text)
        file.chmod(0o644)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}")
    record = site / info / "RECORD"
    record.write_text("\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    record.chmod(0o644)
    for folder in [site, *(p for p in site.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
    return record
