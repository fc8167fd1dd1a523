"""What every provider must do: the same cases for processes, containers and pods.

A provider's own test module derives from ProviderContract and gives it `provider` (a fixture) and
`eyewitness` (a fixture: tells, without the provider's help, whether a worker's code is running).
"""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from apps.providers.errors import ProviderError, Unsupported
from apps.providers.protocol import WorkerSpec
from tests.providers.bundles import bundle

WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
while True:
    time.sleep(0.02)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(0.02)
"""
PATIENT = timedelta(seconds=60)
AT_ONCE = timedelta(0)


def spec(code=WAITS, **changes):
    fields = {
        "instance": str(uuid4()),
        "bundle": bundle({"main.py": code}),
        "machine": "small-1x",
        "variables": {},
        "command": ("main.py",),
    }
    return WorkerSpec(**{**fields, **changes})


def wait_until(condition, *, seconds=60.0):
    """Poll what lives outside this process; there is nothing to be notified by."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.01)
    return result


class ProviderContract:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, provider):
        yield
        for seen in provider.list():
            provider.stop(seen.reference, grace=AT_ONCE)
        wait_until(lambda: not any(seen.is_alive for seen in provider.list()))

    @staticmethod
    def seen(provider, reference):
        return {seen.reference: seen for seen in provider.list()}.get(reference)

    def ended(self, provider, reference):
        seen = self.seen(provider, reference)
        return seen if seen and not seen.is_alive else None

    def test_a_started_worker_is_listed_as_alive(self, provider):
        wanted = spec()
        before = datetime.now(UTC)
        reference = provider.start(wanted)
        seen = self.seen(provider, reference)
        assert seen.is_alive
        assert seen.instance == wanted.instance
        assert before - timedelta(seconds=2) <= seen.started_at <= datetime.now(UTC)
        assert seen.reason == ""

    def test_starting_an_instance_twice_is_one_worker(self, provider):
        wanted = spec()
        assert provider.start(wanted) == provider.start(wanted)
        assert len([seen for seen in provider.list() if seen.is_alive]) == 1

    def test_starting_an_instance_that_has_ended_does_not_start_it_again(self, provider):
        wanted = spec(code="")
        reference = provider.start(wanted)
        wait_until(lambda: self.ended(provider, reference))
        provider.start(wanted)
        assert not self.seen(provider, reference).is_alive

    def test_the_worker_sees_its_variables_and_its_files(self, provider, output):
        code = "import os; print(os.environ['GREETING'], open('data.txt').read())"
        files = {"main.py": code, "data.txt": "from a file"}
        reference = provider.start(spec(bundle=bundle(files), variables={"GREETING": "hello"}))
        wait_until(lambda: "hello from a file" in output(reference))

    def test_the_worker_sees_nothing_of_the_server(self, provider, output, monkeypatch):
        monkeypatch.setenv("SECRET_KEY", "the server's")
        reference = provider.start(spec("import os; print('seen:', os.environ.get('SECRET_KEY'))"))
        wait_until(lambda: "seen: None" in output(reference))

    def test_a_worker_that_is_asked_to_stop_ends_by_itself(self, provider, output):
        reference = provider.start(spec())
        wait_until(lambda: "up" in output(reference))
        provider.stop(reference, grace=PATIENT)
        assert wait_until(lambda: self.ended(provider, reference)).exit_code == 0

    def test_stopping_returns_at_once_and_a_stubborn_worker_is_left_its_grace(
        self, provider, output
    ):
        reference = provider.start(spec(STUBBORN))
        wait_until(lambda: "up" in output(reference))
        provider.stop(reference, grace=PATIENT)
        provider.stop(reference, grace=PATIENT)
        assert self.seen(provider, reference).is_alive  # the grace is not over, so nobody waited

    def test_a_stubborn_worker_is_killed_once_its_grace_is_over(self, provider, output):
        reference = provider.start(spec(STUBBORN))
        wait_until(lambda: "up" in output(reference))
        provider.stop(reference, grace=PATIENT)
        provider.stop(reference, grace=AT_ONCE)
        assert "killed" in wait_until(lambda: self.ended(provider, reference)).reason

    def test_a_crash_is_listed_with_its_exit_code_and_a_reason(self, provider):
        reference = provider.start(spec("raise SystemExit('the disk is full')"))
        ended = wait_until(lambda: self.ended(provider, reference))
        assert ended.exit_code == 1
        assert "exit code 1" in ended.reason
        assert "the disk is full" in ended.reason

    def test_stopping_what_has_ended_or_never_was_is_nothing(self, provider):
        reference = provider.start(spec(code=""))
        wait_until(lambda: self.ended(provider, reference))
        provider.stop(reference, grace=AT_ONCE)
        provider.stop(str(uuid4()), grace=AT_ONCE)

    def test_an_ended_worker_is_listed_until_it_is_forgotten(self, provider):
        reference = provider.start(spec(code=""))
        wait_until(lambda: self.ended(provider, reference))
        assert self.ended(provider, reference)
        provider.forget(reference)
        provider.forget(reference)
        assert self.seen(provider, reference) is None

    def test_a_live_worker_cannot_be_forgotten(self, provider):
        reference = provider.start(spec())
        provider.forget(reference)
        assert self.seen(provider, reference).is_alive

    def test_a_broken_archive_is_a_permanent_error_and_leaves_no_worker(self, provider):
        broken = bundle({"main.py": "", "../evil": ""})
        with pytest.raises(ProviderError, match="leads out") as caught:
            provider.start(spec(bundle=broken))
        assert caught.value.permanent
        assert provider.list() == []

    def test_freezing_is_done_or_refused_as_the_capabilities_say(self, provider):
        reference = provider.start(spec())
        if not provider.capabilities.checkpoint:
            with pytest.raises(Unsupported):
                provider.checkpoint(reference, image="image")
            provider.discard("image")
            with pytest.raises(Unsupported):
                provider.restore(spec(), image="image")
            assert self.seen(provider, reference).is_alive
