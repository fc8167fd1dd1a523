"""Large payloads and outputs: where to put them, where to get them, and the local store itself."""

from __future__ import annotations

from typing import Any, cast

from django.core.files.base import ContentFile
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import blobs
from apps.api.access import Public, accepts
from apps.api.endpoint import Endpoint
from apps.api.parsers import read_limited
from apps.api.schema import errors
from apps.api.serializers.packets import DownloadShape, UploadShape
from apps.api.views.runs import RunEndpoint
from apps.core.errors import NotFound
from apps.orgs.permissions import Permission


class PacketUpload(Endpoint):
    """A packet that is to come."""

    @extend_schema(
        operation_id="create_packet_upload",
        summary="Get an address to upload a packet to",
        request=None,
        responses={200: UploadShape, **errors(400, 401)},
    )
    @accepts(public=Public("trigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def put(self, request: Request, key: str) -> Response:
        url = blobs.upload_url(self.scope.environment_id, key, base=self.base)
        return Response({"presignedUrl": url, "storagePath": key})


class Packet(PacketUpload):
    """A packet that is kept; older callers ask for an upload here as well."""

    @extend_schema(
        operation_id="create_packet_download",
        summary="Get an address to download a packet from",
        responses={200: DownloadShape, **errors(400, 401)},
    )
    @accepts(public=Public("read", ("runs", "tasks", "tags", "batch")), member=Permission.RUNS_READ)
    def get(self, request: Request, key: str) -> Response:
        url = blobs.download_url(self.scope.environment_id, key, base=self.base)
        return Response({"presignedUrl": url})

    @extend_schema(exclude=True)
    @accepts(public=Public("trigger", ("tasks",)), member=Permission.RUNS_TRIGGER)
    def put(self, request: Request, key: str) -> Response:
        return super().put(request, key)


class RunPacket(RunEndpoint):
    """The payload or the output of a run, when it is in object storage."""

    @extend_schema(
        operation_id="create_run_packet_download",
        summary="Get an address to download a run's payload or output from",
        responses={200: DownloadShape, **errors(401, 403, 404)},
    )
    @accepts(public=Public("read", ("runs", "tasks", "tags", "batch")), member=Permission.RUNS_READ)
    def get(self, request: Request, run: str, part: str) -> Response:
        found = self.run_for("read", run)
        data, kind = (
            (found.payload, found.payload_type)
            if part == "payload"
            else (found.output, found.output_type)
        )
        if kind != "application/store" or not data:
            raise NotFound(f"The {part} of this run is not in object storage")
        url = blobs.download_url(self.scope.environment_id, data, base=self.base)
        return Response({"presignedUrl": url})


class Blob(Endpoint):
    """An object of the local store, for whoever has a signed address."""

    authentication_classes = []
    schema = None

    @accepts(anybody=True)
    def put(self, request: Request, signature: str) -> Response:
        name = blobs.open_address(signature, "PUT")
        content = read_limited(cast(Any, request.stream), blobs.UPLOAD_LIMIT)
        kind = str(request.content_type or "application/json")
        blobs.store(name, ContentFile(content), kind)
        return Response(status=200)

    @accepts(anybody=True)
    def get(self, request: Request, signature: str) -> HttpResponse:
        content, kind = blobs.fetch(blobs.open_address(signature, "GET"))
        with content:
            return HttpResponse(content.read(), content_type=kind)
