"""Addresses of large packets."""

from __future__ import annotations

from rest_framework import serializers

from apps.api.serializers.base import Shape


class UploadShape(Shape):
    """Where to PUT a packet, and the path to name in the payload then."""

    presignedUrl = serializers.CharField()
    storagePath = serializers.CharField()


class DownloadShape(Shape):
    """Where to GET a packet."""

    presignedUrl = serializers.CharField()
