"""The project file: what it says, and every way in which it can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdfast import project
from holdfast.project import ProjectError


def write(root: Path, text: str, **files: str) -> Path:
    (root / "holdfast.toml").write_text(text)
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(content)
    return root


def test_a_file_says_everything(tmp_path: Path):
    (tmp_path / "pyproject.toml").touch()
    write(
        tmp_path,
        """
        [project]
        ref = "proj_1"
        dirs = ["jobs", "more.tasks"]
        requirements = "pyproject.toml"
        ignore = ["data/"]
        [defaults]
        retry = { attempts = 5, factor = 3 }
        machine = "small-2x"
        max_duration = 60
        """,
    )
    found = project.load(tmp_path)
    assert found.ref == "proj_1"
    assert found.dirs == ("jobs", "more.tasks")
    assert found.requirements == "pyproject.toml"
    assert found.ignore == ("data/",)
    assert found.defaults.retry == {"attempts": 5, "factor": 3}
    assert found.defaults.machine == "small-2x"
    assert found.defaults.max_duration == 60


def test_little_is_needed(tmp_path: Path):
    found = project.load(write(tmp_path, "[project]\n"))
    assert found.ref == ""
    assert found.dirs == ("tasks",)
    assert found.requirements is None


def test_requirements_are_found(tmp_path: Path):
    (tmp_path / "requirements.txt").touch()
    assert project.load(write(tmp_path, "[project]")).requirements == "requirements.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "project: Field required"),
        ("[project]\nrefs = 'x'", "project.refs: there is no such setting"),
        ("[project]\ndirs = 'x'", "project.dirs: Input should be a valid list"),
        ("[project]\nrequirements = 'no.txt'", "there is no file 'no.txt'"),
        ("[project]\n[defaults]\nmachine = 'huge'", "defaults.machine: unknown machine 'huge'"),
        ("[project]\n[defaults]\nmax_duration = 0", "defaults.max_duration: "),
        ("[project]\n[defaults]\nretry = { tries = 1 }", "defaults.retry: got an unexpected"),
        ("[project]\n[defaults]\nretry = { factor = 0 }", "defaults.retry: retry: factor must"),
        ("[project]\n[defaults]\nretry = 'often'", "defaults.retry: Input should be"),
        ("[project", "cannot be read: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str):
    with pytest.raises(ProjectError) as caught:
        project.load(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path / "holdfast.toml") in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path):
    with pytest.raises(ProjectError, match=r"project\.a: .*; project\.b: "):
        project.load(write(tmp_path, "[project]\na = 1\nb = 2"))


def test_the_file_is_found_from_a_folder_below(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path, "[project]")
    assert project.find(tmp_path / "a" / "b") == tmp_path.resolve()


def test_no_file_at_all_says_what_to_do(tmp_path: Path):
    with pytest.raises(ProjectError, match="holdfast init"):
        project.find(tmp_path)


@pytest.fixture
def fresh_modules():
    """Whatever a test imports is forgotten again."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.usefixtures("fresh_modules")
def test_folders_files_and_modules_are_imported(tmp_path: Path):
    root = write(
        tmp_path,
        '[project]\ndirs = ["zfolder", "zalone.py", "zpackage.jobs"]',
        zfolder__a="",
        zfolder__deep__b="",
        zfolder__test_c="raise AssertionError",
        zalone="",
        src__zpackage____init__="",
        src__zpackage__jobs____init__="",
        src__zpackage__jobs__d="",
    )
    (root / "src/zpackage/__init__.py").touch()
    (root / "src/zpackage/jobs/__init__.py").touch()
    project.import_tasks(project.load(root))
    names = {name for name in sys.modules if name.startswith("z")}
    assert {"zfolder.a", "zfolder.deep.b", "zalone", "zpackage.jobs", "zpackage.jobs.d"} <= names


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ProjectError, match="'tasks' is neither"):
        project.import_tasks(project.load(write(tmp_path, "[project]")))


@pytest.mark.usefixtures("fresh_modules")
def test_a_folder_that_is_named_like_an_installed_package_is_explained(tmp_path: Path):
    root = write(tmp_path, '[project]\ndirs = ["httpx"]', httpx__a="")
    with pytest.raises(ProjectError, match=r"'httpx' is also .*httpx/__init__\.py"):
        project.import_tasks(project.load(root))


def test_a_folder_outside_is_refused(tmp_path: Path):
    with pytest.raises(ProjectError, match="outside the project"):
        project.import_tasks(project.load(write(tmp_path, '[project]\ndirs = [".."]')))
