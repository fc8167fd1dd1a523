"""Python environments: found out, made once, shared, and refused in words."""

import subprocess
import sys
import threading

import pytest

from apps.providers import environments
from apps.providers.environments import EnvironmentBuilder, tool_variables
from apps.providers.errors import BuildFailed
from apps.providers.requirements import Requirements, requirements_of
from tests.providers.bundles import bundle

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def project(folder, **files):
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def named(name):
    return f'[project]\nrequirements = "{name}"\n'


def test_without_any_file_nothing_is_required(tmp_path):
    assert requirements_of(tmp_path) == Requirements(text="", source="")


def test_the_file_that_the_project_names_comes_first(tmp_path):
    project(tmp_path, requirements_txt="a", other_txt="b", holdfast_toml=named("other.txt"))
    assert requirements_of(tmp_path).text == "b"


def test_comments_and_blank_lines_make_no_difference(tmp_path):
    project(tmp_path, requirements_txt="# ours\n\nhttpx\n  # more\n")
    assert requirements_of(tmp_path) == Requirements(text="httpx", source="requirements.txt")


def test_the_dependencies_of_a_pyproject_are_read(tmp_path):
    project(tmp_path, pyproject_toml='[project]\ndependencies = ["httpx", "rich>=13"]\n')
    assert requirements_of(tmp_path).text == "httpx\nrich>=13"


def test_a_lock_of_uv_is_left_to_uv(tmp_path):
    project(tmp_path, pyproject_toml="", uv_lock="version = 1")
    assert requirements_of(tmp_path).needs_export


@pytest.mark.parametrize(
    "line", ["-r more.txt", "-e .", "./wheel.whl", "x @ file:///a", "/abs/x.whl", "-c limits.txt"]
)
def test_lines_that_mean_files_of_the_project_are_known(tmp_path, line):
    project(tmp_path, requirements_txt=f"httpx\n{line}\n")
    assert requirements_of(tmp_path).is_local


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"holdfast_toml": named("missing.txt")}, "not in the archive"),
        ({"holdfast_toml": named("../secrets.txt")}, "outside the project"),
        ({"holdfast_toml": "[project]\nrequirements = 7"}, "must be the name"),
        ({"holdfast_toml": "[project"}, "not valid TOML"),
        ({"pyproject_toml": "[project]\ndependencies = 'httpx'"}, "must be a list"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, files, says):
    with pytest.raises(BuildFailed, match=says):
        requirements_of(project(tmp_path, **files))


def test_an_environment_has_the_sdk_and_is_made_once(workspace):
    said = []
    first = workspace.environment(bundle({"main.py": "A = 1"}))
    again = workspace.environment(bundle({"main.py": "B = 2"}), log=said.append)
    assert again.is_cached
    assert again.path == first.path
    assert said == [f"Environment {first.lock_hash[:12]} is there already"]
    code = "import holdfast, holdfast.worker, sys; print(sys.prefix)"
    run = subprocess.run([first.python, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(first.path)


def test_other_requirements_are_another_environment(tmp_path, sdk):
    builder = EnvironmentBuilder(tmp_path, sdk=sdk)
    hashes = {
        builder._hash(Requirements(text=text, source="", is_local=is_local), python=python, key=key)
        for text, is_local, python, key in [
            ("", False, "3.11", "k"),
            ("a", False, "3.11", "k"),
            ("a", False, "3.12", "k"),
            ("a", True, "3.11", "k"),
            ("a", True, "3.11", "other"),
        ]
    }
    assert len(hashes) == 5
    same = {
        builder._hash(Requirements(text="a", source=source), python="3.11", key=key)
        for source, key in [("requirements.txt", "k"), ("pyproject.toml", "other")]
    }
    assert len(same) == 1


def test_an_environment_that_was_left_half_made_is_made_anew(tmp_path, monkeypatch, sdk):
    builder, made = EnvironmentBuilder(tmp_path, sdk=sdk), []

    def make(self, path, *_, **__):
        (path / "bin").mkdir(parents=True)
        (path / "bin/python").touch()
        made.append(path)
        if len(made) == 1:
            raise BuildFailed("the network went away")

    monkeypatch.setattr(EnvironmentBuilder, "_make", make)

    def build():
        return builder.build(tmp_path, key="k", python_version="", log=print)

    with pytest.raises(BuildFailed):
        build()
    assert not build().is_cached
    assert build().is_cached
    assert len(made) == 2


def test_many_at_once_make_one(tmp_path, monkeypatch, sdk):
    builder, made, barrier = EnvironmentBuilder(tmp_path, sdk=sdk), [], threading.Barrier(4)

    def make(self, path, *_, **__):
        (path / "bin").mkdir(parents=True)
        (path / "bin/python").touch()
        made.append(path)

    monkeypatch.setattr(EnvironmentBuilder, "_make", make)

    def build():
        barrier.wait()
        builder.build(tmp_path, key="k", python_version="", log=lambda _: None)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_python_version_is_asked_for_by_major_and_minor(tmp_path):
    assert environments._python_request("") == OWN
    assert environments._python_request("3.12.4") == "3.12"
    assert environments._python_request("3.13.0rc1") == "3.13"
    with pytest.raises(BuildFailed, match=r"like 3\.12"):
        environments._python_request("latest; rm -rf /")


def test_without_uv_the_standard_library_makes_it(tmp_path, monkeypatch, sdk):
    ran = []
    monkeypatch.setattr(environments, "find_uv", lambda: None)
    monkeypatch.setattr(
        environments, "_run", lambda command, **_: ran.append(list(map(str, command)))
    )
    monkeypatch.setattr(EnvironmentBuilder, "_wheel", lambda self, sdk: tmp_path / "sdk.whl")
    builder = EnvironmentBuilder(tmp_path, sdk=sdk)
    monkeypatch.setattr(environments._Pip, "create", _create(environments._Pip.create))
    (tmp_path / "requirements.txt").write_text("httpx --hash=sha256:abc\n")
    builder.build(tmp_path, key="k", python_version="", log=lambda _: None)
    venv, own, requirements = ran
    assert venv[1:3] == ["-m", "venv"]
    assert own[-1].endswith("sdk.whl")
    assert requirements[-2] == "-r"
    with pytest.raises(BuildFailed, match=r"Python 3\.99 is wanted"):
        builder.build(tmp_path, key="k", python_version="3.99", log=lambda _: None)


def _create(original):
    def create(self, path, *, python):
        original(self, path, python=python)
        path.mkdir(exist_ok=True)

    return create


def test_tools_see_no_secret_of_the_server(monkeypatch):
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example.com")
    monkeypatch.setenv("https_proxy", "http://proxy.example.com")
    seen = tool_variables()
    assert "secret" not in seen.values()
    assert {"PATH", "PIP_INDEX_URL", "https_proxy"} <= seen.keys()
