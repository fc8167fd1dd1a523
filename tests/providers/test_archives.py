"""What an archive may not do to the machine that unpacks it."""

import gzip
import io
import os
import tarfile

import pytest

from apps.providers.archives import UnpackLimits, unpack
from apps.providers.errors import ArchiveRefused


def entry(name, *, kind=tarfile.REGTYPE, content=b"", link="", mode=0o644):
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size, header.mode = kind, link, len(content), mode
    return header, content


def symlink(name, link):
    return entry(name, kind=tarfile.SYMTYPE, link=link)


def hard_link(name, link):
    return entry(name, kind=tarfile.LNKTYPE, link=link)


def archive(*entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as out:
        for header, content in entries:
            out.addfile(header, io.BytesIO(content))
    return io.BytesIO(raw.getvalue())


def test_files_and_folders_arrive_with_their_content(tmp_path):
    unpack(
        archive(
            entry("tasks", kind=tarfile.DIRTYPE),
            entry("tasks/a.py", content=b"A = 1\n"),
            entry("./run.sh", content=b"#!", mode=0o4777),
        ),
        tmp_path / "out",
    )
    assert (tmp_path / "out/tasks/a.py").read_bytes() == b"A = 1\n"
    assert os.access(tmp_path / "out/run.sh", os.X_OK)
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o7000 == 0


def test_links_that_stay_inside_are_kept(tmp_path):
    unpack(
        archive(
            entry("pkg/a.py", content=b"x"), symlink("b.py", "pkg/a.py"), hard_link("c", "pkg/a.py")
        ),
        tmp_path / "out",
    )
    assert (tmp_path / "out/b.py").read_bytes() == b"x"
    assert (tmp_path / "out/c").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry("../evil")], "leads out"),
        ([entry("a/../../evil")], "leads out"),
        ([entry("/etc/evil")], "leads out"),
        ([symlink("out", "/etc")], "links out"),
        ([symlink("out", "../..")], "links out"),
        ([symlink("out", ".."), entry("out/evil")], "through a link"),
        ([symlink("in", "."), entry("in/evil")], "through a link"),
        ([symlink("in", "."), entry("in", kind=tarfile.DIRTYPE)], "a link and a folder"),
        ([symlink("evil", "deep"), entry("evil", content=b"x")], "twice"),
        ([hard_link("passwd", "/etc/passwd")], "links out"),
        ([hard_link("passwd", "../../../../etc/passwd")], "links out"),
        ([symlink("d", "/etc"), hard_link("p", "d/passwd")], "links out"),
        ([symlink("d", ".."), hard_link("p", "d/secret")], "links out"),
        ([hard_link("p", "missing")], "links to nothing"),
        ([entry("null", kind=tarfile.CHRTYPE)], "neither a file"),
        ([entry("sda", kind=tarfile.BLKTYPE)], "neither a file"),
        ([entry("pipe", kind=tarfile.FIFOTYPE)], "neither a file"),
    ],
)
def test_an_entry_that_reaches_out_is_refused_and_nothing_is_left(tmp_path, entries, says):
    (tmp_path / "secret").write_text("alice's")
    with pytest.raises(ArchiveRefused, match=says):
        unpack(archive(*entries), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]
    assert (tmp_path / "secret").read_text() == "alice's"


def test_a_chain_of_links_that_only_together_lead_out_is_refused(tmp_path):
    # p/q/r is the root by another name, so the second link is outside although it does not look so
    entries = [symlink("p/q/r", "../.."), symlink("x", "p/q/r/../secret")]
    with pytest.raises(ArchiveRefused, match="links out"):
        unpack(archive(*entries), tmp_path / "out")


def test_too_many_entries_are_refused(tmp_path):
    many = archive(*[entry(f"f{number}") for number in range(11)])
    with pytest.raises(ArchiveRefused, match="more than 10 entries"):
        unpack(many, tmp_path / "out", UnpackLimits(entries=10))


def test_a_size_bomb_is_refused_before_it_is_written(tmp_path):
    bomb = archive(entry("zeros", content=b"\0" * 5_000_000))
    assert len(bomb.getvalue()) < 20_000
    with pytest.raises(ArchiveRefused, match="more than 1,000,000 bytes"):
        unpack(bomb, tmp_path / "out", UnpackLimits(bytes=1_000_000))
    assert not (tmp_path / "out").exists()


def test_a_bomb_in_an_extended_header_is_refused_without_reading_it(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 4 * 1024**3
    raw = io.BytesIO(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 10_240))
    with pytest.raises(ArchiveRefused, match="extended header"):
        unpack(raw, tmp_path / "out")


@pytest.mark.parametrize(
    "raw", [b"", b"not an archive", gzip.compress(b"neither is this" * 99, mtime=0)]
)
def test_what_is_no_archive_is_refused_in_words(tmp_path, raw):
    with pytest.raises(ArchiveRefused, match="not a readable"):
        unpack(io.BytesIO(raw), tmp_path / "out")


def test_a_truncated_archive_is_refused(tmp_path):
    whole = archive(entry("a", content=os.urandom(50_000))).getvalue()
    with pytest.raises(ArchiveRefused, match="not a readable"):
        unpack(io.BytesIO(whole[: len(whole) // 2]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
