"""`OBJECT_STORE_URL` in a process of its own: a folder, or a bucket of a real S3 interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.config.test_settings import manage

_WRITE_AND_READ = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage as store
name = store.save("archives/one.tar.gz", ContentFile(b"bytes"))
again = store.save("archives/one.tar.gz", ContentFile(b"other bytes"))
print(name, again, store.open("archives/one.tar.gz").read(), store.url(name).partition("?")[0])
"""


@pytest.fixture
def server() -> Iterator[str]:
    """An S3 with one empty bucket."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1",
        aws_access_key_id="key", aws_secret_access_key="secret",
    ).create_bucket(Bucket="holdfast")  # fmt: skip
    yield url
    server.stop()


def test_objects_go_to_the_bucket_below_its_prefix(tmp_path: Path, server: str):
    done = manage(
        tmp_path, "shell", "--no-imports", "-c", _WRITE_AND_READ,
        DEBUG="1", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret",
        OBJECT_STORE_URL=f"s3://holdfast/prefix/of/ours?endpoint={server}&region=us-east-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = "archives/one.tar.gz"
    place = f"{server}/holdfast/prefix/of/ours/{kept}"
    assert done.stdout.split() == [kept, kept, "b'other", "bytes'", place]


def test_a_folder_may_be_anywhere(tmp_path: Path):
    folder = tmp_path / "with blanks"
    done = manage(
        tmp_path, "shell", "--no-imports", "-c", _WRITE_AND_READ,
        DEBUG="1", OBJECT_STORE_URL=folder.as_uri(),
    )  # fmt: skip
    assert (folder / "archives" / "one.tar.gz").read_bytes(), done.stderr


def test_another_scheme_is_refused(tmp_path: Path):
    refused = manage(tmp_path, "diffsettings", DEBUG="1", OBJECT_STORE_URL="ftp://host/folder")
    assert refused.returncode == 1
    assert "OBJECT_STORE_URL" in refused.stderr
