"""The bell is told by a thread, also by a process that ends at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import redis
from django.conf import settings

from apps.core.bell import CHANNEL
from config.supervisor_programs import ROOT

_RINGS = """
import django
django.setup()
from apps.core import bell
for _ in range(20):
    bell.ring("ready", environment="here")
bell.ring("cancel", run="that")
"""


def ring_and_end(**environment: str) -> subprocess.CompletedProcess[str]:
    """A process that rings, and has nothing else to do."""
    return subprocess.run(
        [sys.executable, "-c", _RINGS],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def heard():
    with redis.Redis.from_url(settings.REDIS_URL) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=60)["type"] == "subscribe"
        yield channel


def test_who_rings_and_ends_is_heard(heard):
    assert ring_and_end(REDIS_URL=settings.REDIS_URL).returncode == 0
    kinds = []
    while "cancel" not in kinds:
        message = heard.get_message(timeout=60)
        assert message is not None, kinds
        kinds.append(json.loads(message["data"])["kind"])
    assert set(kinds) == {"ready", "cancel"}
    assert len(kinds) <= 21


def test_a_bell_without_redis_harms_nobody(tmp_path):
    ended = ring_and_end(REDIS_URL=f"unix://{tmp_path}/nobody")
    assert ended.returncode == 0, ended.stderr
    assert "the bell is silent" in ended.stderr + ended.stdout
