import hashlib
import importlib
import importlib.metadata
import itertools
import os
import sys
from pathlib import Path

import pytest

from fakes.distributions import install
from signerd.host.distribution import LoadError, VerifiedFinder, find_entry, verify

GROUP = "signerd.tests.distribution"
_numbers = itertools.count()


class Site:
    """A folder on the path with one distribution: its package has a fresh name, so that no test sees
    another's modules."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = f"signerd_checked_{next(_numbers)}"
        self.entry = self.package.replace("_", "-")

    def install(self, extra: dict[str, str] | None = None, module: str = "plugin") -> Path:
        files = {
            f"{self.package}/__init__.py": "",
            f"{self.package}/plugin.py": "VALUE = 1\n",
            f"{self.package}/sub/__init__.py": "",
            f"{self.package}/sub/deep.py": "DEEP = 2\n",
            f"{self.package}/data/schema.json": "{}",
            **(extra or {}),
        }
        return install(self.root, self.entry, files, {GROUP: {self.entry: f"{self.package}.{module}"}})

    def verify(self, *, development: bool = False) -> importlib.metadata.EntryPoint:
        importlib.invalidate_caches()
        entry = find_entry(GROUP, self.entry)
        self.checked = verify(entry, development=development)
        return entry

    def refused(self) -> str:
        with pytest.raises(LoadError) as caught:
            self.verify()
        assert caught.value.plugin == self.entry
        return str(caught.value)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    root = tmp_path / "site"
    root.mkdir(mode=0o755)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return Site(root)


def imports(site: Site) -> VerifiedFinder:
    finder = VerifiedFinder()
    finder.install()
    finder.add(site.checked)
    return finder


def test_a_whole_distribution_passes_and_nothing_of_it_was_imported(site: Site) -> None:
    record = site.install()
    record.write_bytes(record.read_bytes().replace(b"\n", b"\r\n"))  # as some installers write it
    site.verify()
    assert site.checked.name == site.entry
    assert site.checked.version == "1.2.3"
    assert site.checked.record_sha256 == hashlib.sha256(record.read_bytes()).hexdigest()
    assert not [name for name in sys.modules if name.startswith(site.package)]


def test_an_entry_that_nobody_or_more_than_one_offers_is_refused(site: Site) -> None:
    with pytest.raises(LoadError, match="no installed distribution offers it"):
        find_entry(GROUP, "nobody")
    site.install()
    install(site.root, site.entry + "-twin", {"x.py": ""}, {GROUP: {site.entry: "x"}})
    importlib.invalidate_caches()
    with pytest.raises(LoadError, match=f"more than one .*: {site.entry}, {site.entry}-twin"):
        find_entry(GROUP, site.entry)


@pytest.mark.parametrize("path", ["plugin.py", "sub/deep.py", "data/schema.json"])
def test_an_altered_or_missing_file_is_refused_by_its_path(site: Site, path: str) -> None:
    site.install()
    file = site.root / site.package / path
    text = file.read_text()
    file.write_text(text + " ")
    assert f"{file}: the file is not the one that RECORD lists" in site.refused()
    file.unlink()
    assert f"{file}: a file that RECORD lists cannot be read" in site.refused()
    file.write_text(text)
    site.verify()


@pytest.mark.parametrize("name", ["extra.py", "sub/extra.py", "extra.so", "stray.pyc", "new/extra.py"])
def test_a_module_beside_the_listed_ones_is_refused(site: Site, name: str) -> None:
    site.install()
    file = site.root / site.package / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    assert f"{file}: a module lies in the package that RECORD does not list" in site.refused()


@pytest.mark.parametrize("path", ["", "sub", "data"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_folder_that_others_may_write_is_refused(site: Site, path: str, mode: int) -> None:
    site.install()
    folder = site.root / site.package / path
    folder.chmod(mode)
    assert "nobody but its owner may be able to write it" in site.refused()


def test_so_are_a_file_the_site_folder_and_the_dist_info(site: Site) -> None:
    record = site.install()
    for place, mode in (
        (site.root / site.package / "plugin.py", 0o644),
        (site.root, 0o755),
        (record.parent, 0o755),
    ):
        place.chmod(0o777)
        assert "nobody but its owner" in site.refused()
        place.chmod(mode)
    site.verify()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_or_folder_of_another_user_is_refused(site: Site) -> None:
    site.install()
    for place in (site.root / site.package / "plugin.py", site.root / site.package / "sub"):
        os.chown(place, 12345, -1)
        assert "must belong to root or to the user" in site.refused()
        os.chown(place, 0, -1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{p}/plugin.py,,", "every file needs a SHA-256"),
        ("{p}/plugin.py,md5=abc,3", "every file needs a SHA-256"),
        ("{p}/plugin.py,sha256=AAAA,3", "every file needs a SHA-256"),
        ("{p}/plugin.py,sha256=é,3", "every file needs a SHA-256"),
        ("{p}/plugin.py", "a line with 1 fields"),
    ],
)
def test_a_record_without_digests_is_refused(site: Site, line: str, expected: str) -> None:
    record = site.install()
    kept = [old for old in record.read_text().splitlines() if "plugin.py" not in old]
    record.write_text("\n".join([line.format(p=site.package), *kept]) + "\n")
    assert expected in site.refused()


def test_a_record_that_does_not_list_itself_is_refused(site: Site) -> None:
    record = site.install()
    record.write_text("\n".join(line for line in record.read_text().splitlines() if "RECORD" not in line))
    assert "RECORD does not list itself" in site.refused()


def test_a_distribution_without_record_is_refused(site: Site) -> None:
    site.install().unlink()
    assert "has no RECORD" in site.refused()


def test_an_entry_point_into_somebody_elses_module_is_refused(site: Site) -> None:
    site.install(module="nothere")
    assert "which is not in its RECORD" in site.refused()


def test_a_pth_file_would_run_in_every_process_and_is_refused(site: Site) -> None:
    site.install({"sneaky.pth": "import os\n"})
    assert "may not bring a .pth file" in site.refused()


@pytest.mark.parametrize(
    "path", ["sitecustomize.py", "usercustomize/__init__.py", "sitecustomize.cpython-311-x86_64-linux-gnu.so"]
)
def test_so_is_a_module_that_every_python_imports_at_its_start(site: Site, path: str) -> None:
    site.install({path: "import os\n"})
    assert "may not bring a module that every Python imports" in site.refused()


@pytest.mark.parametrize("decoy", ["other-1.dist-info/RECORD", "sub/other-1.dist-info/METADATA"])
def test_a_pin_is_on_its_own_record_and_on_no_other_file_of_that_name(site: Site, decoy: str) -> None:
    site.install({decoy: "always the same\n"})
    assert "another .dist-info than its own" in site.refused()


@pytest.mark.parametrize("name", ["METADATA", "entry_points.txt"])
def test_what_says_its_name_and_entry_points_is_listed_too(site: Site, name: str) -> None:
    record = site.install()
    kept = [line for line in record.read_text().splitlines() if f"/{name}," not in line]
    record.write_text("\n".join(kept) + "\n")
    assert f"RECORD does not list its {name} with a SHA-256" in site.refused()


def test_a_record_that_names_another_one_in_its_place_is_refused(site: Site) -> None:
    record = site.install()
    other = site.root / "other-1.dist-info"
    other.mkdir(mode=0o755)
    (other / "RECORD").write_text("always the same\n")
    (other / "RECORD").chmod(0o644)
    kept = [line for line in record.read_text().splitlines() if ".dist-info/" not in line]
    record.write_text("\n".join([*kept, "other-1.dist-info/RECORD,,"]) + "\n")
    assert "RECORD is not the one that it lists" in site.refused()


@pytest.mark.parametrize("text", ['{"dir_info": {"editable": true}, "url": "file:///x"}', "not json", "[]"])
def test_an_editable_installation_loads_under_development_only(site: Site, text: str) -> None:
    record = site.install()
    (record.parent / "direct_url.json").write_text(text)
    assert "editable installation, which loads with development = true only" in site.refused()
    site.verify(development=True)
    assert site.checked.editable
    assert site.checked.record_sha256 == ""


def test_development_does_not_excuse_an_altered_installation(site: Site) -> None:
    site.install()
    (site.root / site.package / "plugin.py").write_text("VALUE = 666\n")
    with pytest.raises(LoadError):
        site.verify(development=True)


def test_the_finder_imports_what_is_listed_and_refuses_what_came_later(site: Site) -> None:
    site.install()
    site.verify()
    imports(site)
    assert importlib.import_module(f"{site.package}.sub.deep").DEEP == 2
    (site.root / site.package / "late.py").write_text("")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="not in the RECORD"):
        importlib.import_module(f"{site.package}.late")


def test_a_file_swapped_between_check_and_import_is_not_run(site: Site) -> None:
    site.install()
    site.verify()
    imports(site)
    (site.root / site.package / "plugin.py").write_text("raise AssertionError('ran')\n")
    with pytest.raises(ImportError, match="altered after its distribution was verified"):
        importlib.import_module(f"{site.package}.plugin")


def test_bytecode_that_somebody_left_is_never_run(site: Site) -> None:
    site.install()
    source = site.root / site.package / "plugin.py"
    # Bytecode of other source that claims, by time and size, to belong to this one.
    import py_compile

    honest, times = source.read_text(), source.stat()
    source.write_text("VALUE = 6\n")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    py_compile.compile(str(source))
    source.write_text(honest)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    site.verify()
    imports(site)
    assert importlib.import_module(f"{site.package}.plugin").VALUE == 1


def test_an_editable_distribution_leaves_imports_as_they_are(site: Site) -> None:
    record = site.install()
    (record.parent / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    site.verify(development=True)
    imports(site)
    (site.root / site.package / "late.py").write_text("")
    importlib.invalidate_caches()
    importlib.import_module(f"{site.package}.late")


def test_the_folder_of_its_modules_is_where_its_files_say(site: Site) -> None:
    record = site.install()
    site.verify()
    assert site.checked.base == str(site.root)
    (record.parent / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    site.verify(development=True)
    with pytest.raises(LoadError, match="lists no file"):
        _ = site.checked.base
