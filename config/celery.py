"""Our own background work: `jobs.py` of each app."""

import os
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("holdfast")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="jobs")


@task_prerun.connect
def keep_what_works(**_: Any) -> None:
    """Treat connections as a request does: one that works is kept, with the plans it knows."""
    close_old_connections()
