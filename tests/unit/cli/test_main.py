import subprocess
import sys

import pytest

from signerd import __version__
from signerd.cli.main import main, parser
from signerd.sealer.audit import FILE_NAME


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "signerd.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_version_says_what_this_is_and_loads_nothing_heavy():
    program = (
        "import sys; from signerd.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as end: print(end.code)\n"
        "heavy = {'msgspec', 'trio', 'pluggy', 'cryptography', 'sqlite3', 'signerd.host'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"signerd {__version__}", "0", "[]"]


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["plugins"], ["audit"], ["audit", "query"]])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['signerd', *command])}")


@pytest.mark.parametrize(
    "arguments", [[], ["sing"], ["serve", "--stat"], ["check"], ["audit", "query", "--limit", "-1"]]
)
def test_a_wrong_command_line_is_usage_on_stderr_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "usage: signerd" in said.err


def test_what_a_command_raises_becomes_a_line_on_stderr_and_its_codes_exit_code(tmp_path, capsys):
    (tmp_path / FILE_NAME).write_bytes(b"no database at all " * 100)
    assert main(["audit", "query", "--state", str(tmp_path)]) == 10
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("signerd: audit.unavailable (corrupt): ")


def test_a_reader_that_has_gone_is_no_traceback():
    done = run("plugins", "--output", "json", bufsize=0)
    assert done.returncode == 0
    shell = f'"{sys.executable}" -m signerd.cli.main plugins --output json; echo "exit $?" >&2'
    process = subprocess.Popen(["sh", "-c", f"({shell}) | true"], stderr=subprocess.PIPE, text=True)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert said.strip() in {"exit 0", "exit 1"}
