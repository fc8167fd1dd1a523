"""The archive: the same bytes for the same files, and nothing in it that should not be."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from holdfast import archive
from holdfast.archive import ArchiveError, Ignore
from holdfast.project import Project


def make(root: Path, *names: str) -> Project:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return Project(root=root)


def test_the_same_files_give_the_same_bytes(tmp_path: Path):
    one = make(tmp_path / "one", "a.py", "tasks/b.py")
    two = make(tmp_path / "two", "tasks/b.py", "a.py")
    os.utime(two.root / "a.py", (1, 1))
    assert archive.build(one).content == archive.build(two).content
    assert archive.build(one).content_hash == archive.content_hash(two)


@pytest.mark.parametrize("change", ["content", "name", "mode", "more"])
def test_any_difference_changes_the_hash(tmp_path: Path, change: str):
    project = make(tmp_path, "a.py", "b.py")
    before = archive.content_hash(project)
    if change == "content":
        (tmp_path / "a.py").write_text("other")
    elif change == "name":
        (tmp_path / "a.py").rename(tmp_path / "c.py")
    elif change == "mode":
        (tmp_path / "a.py").chmod(0o755)
    else:
        (tmp_path / "c.py").touch()
    assert archive.content_hash(project) != before


def test_owners_and_times_do_not_enter(tmp_path: Path):
    packed = archive.build(make(tmp_path, "a.py"))
    with tarfile.open(fileobj=io.BytesIO(packed.content)) as tar:
        (member,) = tar.getmembers()
    assert (member.uid, member.gid, member.mtime, member.mode) == (0, 0, 0, 0o644)
    assert packed.names == ("a.py",)


def test_what_nobody_wants_is_left_out(tmp_path: Path):
    project = make(
        tmp_path,
        "a.py",
        ".env",
        ".env.local",
        ".git/HEAD",
        "deep/__pycache__/a.pyc",
        "node_modules/x.js",
        "build/x",
        "deep/build/kept",
        "my-env/pyvenv.cfg",
        "my-env/lib.py",
    )
    assert archive.build(project).names == ("a.py", "deep/build/kept")


def test_the_project_may_ignore_more_and_take_back(tmp_path: Path):
    make(tmp_path, "a.py", "data/big", ".env.example", "notes.md", "docs/notes.md")
    project = Project(root=tmp_path, ignore=("data/", "!.env.example", "/notes.md"))
    assert archive.build(project).names == (".env.example", "a.py", "docs/notes.md")


@pytest.mark.parametrize(
    ("pattern", "name", "is_ignored"),
    [
        ("*.log", "a.log", True),
        ("*.log", "deep/a.log", True),
        ("/a.log", "deep/a.log", False),
        ("docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/deep/a.md", False),
        ("docs/**/a.md", "docs/a.md", True),
        ("docs/**/a.md", "docs/x/y/a.md", True),
        ("**/a", "x/a", True),
        ("a?c", "abc", True),
        ("a[!b]c", "abc", False),
        ("folder/", "folder", False),
        ("# comment", "# comment", False),
        ("a.py", "axpy", False),
    ],
)
def test_patterns_mean_what_gitignore_means(pattern: str, name: str, is_ignored: bool):
    assert Ignore([pattern]).matches(name, is_folder=False) is is_ignored


def test_a_link_inside_stays_a_link(tmp_path: Path):
    project = make(tmp_path, "a.py", "deep/x")
    (tmp_path / "deep" / "link.py").symlink_to(tmp_path / "a.py")
    with tarfile.open(fileobj=io.BytesIO(archive.build(project).content)) as tar:
        link = tar.getmember("deep/link.py")
    assert link.issym()
    assert link.linkname == "../a.py"


def test_a_link_out_of_the_project_is_refused(tmp_path: Path):
    project = make(tmp_path / "project", "a.py")
    (tmp_path / "secret").touch()
    (project.root / "link").symlink_to("../secret")
    with pytest.raises(ArchiveError, match="link links out of the project"):
        archive.build(project)


def test_a_link_to_nothing_is_refused(tmp_path: Path):
    project = make(tmp_path, "a.py")
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(ArchiveError, match="not there"):
        archive.build(project)


def test_too_much_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    with pytest.raises(ArchiveError, match="ignore"):
        archive.build(make(tmp_path, "a.py"))


def test_a_pipe_is_no_file(tmp_path: Path):
    project = make(tmp_path, "a.py")
    os.mkfifo(tmp_path / "pipe")
    assert archive.build(project).names == ("a.py",)
