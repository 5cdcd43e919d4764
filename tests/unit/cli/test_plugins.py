import json

from signerd.cli.main import main
from signerd.cli.plugins import listing


def test_what_is_installed_and_allowed_by_the_embedded_defaults(capsys):
    assert main(["plugins", "--output", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    for name in (
        "auth-peercred",
        "entitlement-file",
        "release-allowlist",
        "predicates-intoto",
        "predicates-stella",
    ):
        row = rows[name]
        assert (row["kind"], row["api"], row["allowed"]) == ("policy", "v1", True)
        assert row["distribution"] == f"signerd-{name}"
        assert row["digest"].startswith("sha256:"), row
    assert (rows["file"]["kind"], rows["file"]["allowed"]) == ("key backend", True)


def test_what_is_not_named_is_not_allowed_and_what_is_missing_is_told():
    allowed = {"auth-peercred": ["none"], "nowhere": ["none"]}
    rows = {row["name"]: row for row in listing(allowed, {}, {}, development=False)}
    assert rows["auth-peercred"]["allowed"]
    assert rows["auth-peercred"]["certificate"] == "none"
    assert "certificate" not in rows["entitlement-file"], "nobody has said anything of it"
    assert not rows["entitlement-file"]["allowed"]
    assert "no installed distribution offers it" in rows["nowhere"]["problem"]
    assert rows["nowhere"]["allowed"]


def test_a_table_lines_up(capsys):
    assert main(["plugins", "--output", "table"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "kind", "distribution"]
    place = head.index("kind")
    assert all(line[place:].startswith(("policy", "publisher", "key backend")) for line in lines)
    assert len(lines) >= 6


def test_output_without_a_terminal_is_json(capsys):
    assert main(["plugins"]) == 0
    json.loads(capsys.readouterr().out)
