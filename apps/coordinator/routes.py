"""Every socket of the coordinator."""

from typing import Any, cast

from django.urls import path

from apps.coordinator.consumer import WorkerSocket

# Channels routes sockets with Django's own path, whose types know only views
sockets = [path("coordinator/v1", cast(Any, WorkerSocket.as_asgi()))]
