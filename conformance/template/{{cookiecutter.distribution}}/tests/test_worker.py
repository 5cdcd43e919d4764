"""The backend in a key worker, as the daemon runs it, judged by signerd's conformance kit."""

import json
import subprocess
import sys
from pathlib import Path


def test_the_worker_keeps_the_protocol(tmp_path):
    settings, report = tmp_path / "settings.json", tmp_path / "report.json"
    (tmp_path / "keys").mkdir(mode=0o700)
    backend = {"scheme": "{{ cookiecutter.scheme }}", "name": "{{ cookiecutter.scheme }}"}
    settings.write_text(json.dumps({**backend, "settings": {"directory": str(tmp_path / "keys")}}))
    kit = Path(sys.executable).with_name("signerd-conformance")
    command = [kit, "backend", "--key", "{{ cookiecutter.scheme }}:release", "--generate", "ES256"]
    command += ["--settings", settings, "--report", report, "--", sys.executable, "-P", "-m", "signerd.worker.key"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {case["name"]: case["status"] for case in json.loads(report.read_text())["cases"]}["generate"] == "ok"
