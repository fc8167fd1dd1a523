"""Every socket of the coordinator."""

from django.urls import path

from apps.coordinator.consumer import WorkerSocket

sockets = [path("coordinator/v1", WorkerSocket.as_asgi())]
