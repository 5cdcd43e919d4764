"""Stands in for CryptoPro's `csptest` where a test has no CSP: the same arguments, last line and byte order.

Signatures are real, by OpenSSL's engine `gost`. STANDIN_DIR is a folder: NAME.pem is the key of the container
`\\\\.\\HDIMAGE\\NAME`, the file "arguments" gets a line for each call, and the file "fault" holds what goes wrong: a
code in hex, or one of hang, garbage, flood, exit, silent, twice, short, link, child, s-r.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

FOLDER = Path(os.environ["STANDIN_DIR"])
PREFIX = "\\\\.\\HDIMAGE\\"
OPTIONS = {"-container", "-keytype", "-in", "-out", "-sign"}


def finish(code: int) -> NoReturn:
    sys.stdout.write(f"Total: SYS: 0,010 sec USR: 0,020 sec UTC: 0,030 sec\n[ErrorCode: 0x{code:08x}]\n")
    sys.exit(1 if code else 0)


def go_wrong(fault: str) -> None:
    """What ends without a signature."""
    if fault.startswith("0x"):
        sys.stdout.write("An error occurred in running the program.\n")
        finish(int(fault, 16))
    if fault == "exit":
        sys.exit(3)
    if fault == "child":
        child = subprocess.Popen(["sleep", "600"])
        (FOLDER / "child").write_text(str(child.pid))
    if fault in ("child", "hang"):
        time.sleep(600)
    if fault == "garbage":
        sys.stdout.buffer.write(b"\xff\x00\x1b[2J" * 50)
        sys.exit()
    while fault == "flood":
        sys.stdout.write("x" * 65536)


def spoil(fault: str, out: Path) -> None:
    """What is wrong with a signature that is there."""
    if fault == "short":
        out.write_bytes(out.read_bytes()[1:])
    if fault == "link":
        out.rename(FOLDER / "elsewhere")
        out.symlink_to(FOLDER / "elsewhere")
    if fault == "twice":
        sys.stdout.write("[ErrorCode: 0x00000000]\n")
    if fault == "silent":
        sys.exit()


def main() -> None:
    arguments = sys.argv[1:]
    with (FOLDER / "arguments").open("a") as file:
        file.write(" ".join(arguments) + "\n")
    given = {name: arguments[at + 1] for at, name in enumerate(arguments) if name in OPTIONS}
    assert {"-keyset", "-silent"} <= set(arguments)
    fault = (FOLDER / "fault").read_text() if (FOLDER / "fault").exists() else ""
    go_wrong(fault)
    key = FOLDER / f"{given['-container'].removeprefix(PREFIX)}.pem"
    if not given["-container"].startswith(PREFIX) or not key.exists():
        finish(0x80090016)
    bits, out = given["-sign"].removeprefix("GOST12_"), Path(given["-out"])
    command = ["openssl", "dgst", "-engine", "gost", f"-md_gost12_{bits}", "-sign", key, "-out", out, given["-in"]]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        finish(0x80090008)
    if fault != "s-r":
        out.write_bytes(out.read_bytes()[::-1])
    spoil(fault, out)
    finish(0)


main()
