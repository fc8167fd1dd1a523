from typing import Any

import httpx
import pytest
import time_machine
from django.core import signing
from django.core.files.storage import default_storage
from django.test import override_settings
from moto.server import ThreadedMotoServer

from apps.api import blobs
from tests.api import scenes
from tests.api.client import Api
from tests.api.test_authentication import token_for

KEY = "trigger%2Fpacket_1%2Fpayload.json"
NAME = "trigger/packet_1/payload.json"
STORED: dict[str, Any] = {"payloadType": "application/store", "payloadSize": 200_000}
SUPERJSON = {"content_type": "application/super+json"}


def path_of(url):
    return url.removeprefix("http://testserver")


def uploaded(api, content=b'{"json":{"big":true}}'):
    address = api.put(f"/api/v2/packets/{KEY}").ok()
    answer = Api(None).put(path_of(address["presignedUrl"]), content, **SUPERJSON)
    assert answer.status == 200
    return address["storagePath"]


def test_a_large_payload_goes_to_the_store_and_comes_back_with_its_type(api):
    path = uploaded(api)
    address = api.get(f"/api/v1/packets/{KEY}").ok()

    answer = Api(None).get(path_of(address["presignedUrl"]))

    assert path == NAME
    assert (answer.status, answer.content) == (200, b'{"json":{"big":true}}')
    assert answer.headers["Content-Type"] == "application/super+json"


def test_an_upload_replaces_an_earlier_one(api):
    uploaded(api, b"1")
    uploaded(api, b"2")
    address = api.get(f"/api/v1/packets/{KEY}").ok()

    assert Api(None).get(path_of(address["presignedUrl"])).content == b"2"


def test_a_run_with_a_stored_payload_shows_where_it_is(api):
    run = scenes.run(api, payload=uploaded(api), **STORED)

    shown = api.get(f"/api/v3/runs/{run}").ok()
    packet = api.get(f"/api/v1/runs/{run}/packets/payload").ok()

    assert "payload" not in shown
    for url in (shown["payloadPresignedUrl"], packet["presignedUrl"]):
        assert Api(None).get(path_of(url)).content == b'{"json":{"big":true}}'


def test_a_run_with_a_stored_output_shows_where_it_is(api):
    run = scenes.run(api)
    scenes.finish(run, output=uploaded(api), output_type="application/store")

    url = api.get(f"/api/v3/runs/{run}").ok()["outputPresignedUrl"]

    assert Api(None).get(path_of(url)).content == b'{"json":{"big":true}}'


def test_a_payload_that_is_not_in_the_store_has_no_address(api):
    run = scenes.run(api, payload=1)

    answer = api.get(f"/api/v1/runs/{run}/packets/payload")

    assert (answer.status, answer.error) == (
        404,
        "The payload of this run is not in object storage",
    )


def test_an_address_is_for_one_verb_only(api):
    upload = path_of(api.put(f"/api/v2/packets/{KEY}").ok()["presignedUrl"])
    download = path_of(api.get(f"/api/v1/packets/{KEY}").ok()["presignedUrl"])

    assert Api(None).get(upload).error == "This address is for PUT only"
    assert Api(None).put(download, b"x").error == "This address is for GET only"


def test_an_address_expires(api):
    with time_machine.travel("2026-11-24T12:00:00Z", tick=False):
        url = path_of(blobs.download_url(scenes.uuid_of(scenes.run(api)), "a", base=""))
    with time_machine.travel("2026-11-24T13:00:01Z", tick=False):
        answer = Api(None).get(url)

    assert (answer.status, answer.error) == (403, "This address has expired")


def test_a_forged_address_is_refused(api):
    forged = signing.dumps(
        ["GET", "archives/secret.tar.gz"], key="another", salt="holdfast.api.blobs"
    )

    for signature in (forged, "nonsense", "a:b:c"):
        answer = Api(None).get(f"/api/v1/blobs/{signature}")
        assert (answer.status, answer.error) == (403, "This address is not valid")


def test_a_packet_that_was_never_uploaded_is_404(api):
    address = api.get("/api/v1/packets/never").ok()

    assert Api(None).get(path_of(address["presignedUrl"])).error == "There is no such packet"


@pytest.mark.parametrize(
    "key", ["..%2F..%2Fetc%2Fpasswd", "a%2F%2Fb", "a%2F.%2Fb", "%2Fa", "a" * 513]
)
def test_a_key_that_leads_elsewhere_is_refused(api, key):
    answer = api.put(f"/api/v2/packets/{key}")

    assert answer.status == 400
    assert answer.error == "A packet's key is a relative path of at most 512 printable characters"


def test_a_packet_over_the_limit_is_refused(api, monkeypatch):
    monkeypatch.setattr(blobs, "UPLOAD_LIMIT", 10)
    upload = path_of(api.put(f"/api/v2/packets/{KEY}").ok()["presignedUrl"])

    assert Api(None).put(upload, b"x" * 11).status == 413


def test_charlie_gets_addresses_of_his_own_packets_only(api, charlie):
    uploaded(api)
    address = charlie.get(f"/api/v1/packets/{KEY}").ok()

    assert Api(None).get(path_of(address["presignedUrl"])).status == 404


def test_a_public_token_that_reads_runs_reads_packets(api, acme):
    assert Api(token_for(acme, scopes=["read:runs:run_x"])).get(f"/api/v1/packets/{KEY}").ok()
    assert Api(token_for(acme, scopes=["write:runs"])).get(f"/api/v1/packets/{KEY}").status == 403


@pytest.fixture
def bucket():
    """An S3 of our own, with one bucket."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "bucket_name": "packets",
        "endpoint_url": f"http://{host}:{port}",
        "access_key": "key",
        "secret_key": "secret",
        "region_name": "us-east-1",
        "addressing_style": "path",
        "querystring_auth": True,
    }
    storages = {
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    with override_settings(STORAGES=storages):
        storage: Any = default_storage
        storage.connection.create_bucket(Bucket="packets")
        yield options["endpoint_url"]
    server.stop()


def test_with_s3_the_addresses_are_its_own(api, bucket):
    upload = api.put(f"/api/v2/packets/{KEY}").ok()["presignedUrl"]
    download = api.get(f"/api/v1/packets/{KEY}").ok()["presignedUrl"]

    assert upload.startswith(bucket)
    with httpx.Client(timeout=60) as client:
        put = client.put(upload, content=b"[1]", headers={"content-type": "application/json"})
        got = client.get(download)
    assert (put.status_code, got.status_code, got.content) == (200, 200, b"[1]")
    assert got.headers["content-type"] == "application/json"
