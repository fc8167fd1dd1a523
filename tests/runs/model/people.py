"""What people do: trigger, cancel, complete tokens, send input, fork, turn queues on and off."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from apps.deployments.operations import queues
from apps.runs.errors import InputTooLate
from apps.runs.models import ReadyRun
from apps.runs.operations.cancel import cancel_run
from apps.runs.operations.fork import fork_run
from apps.runs.operations.inputs import Item, send_input
from apps.runs.operations.versions import apply_queues
from apps.runs.operations.waitpoints import complete_token, create_token
from apps.runs.states import FINAL
from tests.runs.engine import ask
from tests.runs.model.floor import Floor
from tests.runs.model.known import (
    CANCELED,
    COMPLETED,
    DELAYED,
    DEQUEUED,
    EXECUTING,
    QUEUES,
    Caps,
    Known,
    Point,
    Q,
)

INPUTS = ("x", "y")
_KEY_LIFE = timedelta(seconds=60)
_TOKEN_LIFE = timedelta(seconds=600)


class People(Floor):
    """Rules for callers of the API."""

    @initialize(wanted=st.lists(st.sampled_from(sorted(QUEUES)), min_size=3, max_size=6))
    def begin_with_work(self, wanted: list[str]) -> None:
        for queue in wanted:
            self._expect(self._trigger(queue, None), {Q})

    # -- Runs ----------------------------------------------------------------------------------

    @rule(
        queue=st.sampled_from(sorted(QUEUES)),
        key=st.sampled_from([None, "a", "b"]),
        delay=st.sampled_from([None, None, 20]),
        ttl=st.sampled_from([None, None, 30]),
        attempts=st.integers(1, 3),
        priority=st.sampled_from([0, 0, 60]),
    )
    def trigger(
        self, queue: str, key: str | None, delay: int | None, ttl: int | None, attempts: int,
        priority: int,
    ) -> None:  # fmt: skip
        run_id = self._trigger(queue, key, delay, ttl, attempts, priority)
        self._expect(run_id, {DELAYED if delay else Q})
        if not delay:
            self.runs[run_id].place = place = self.now - timedelta(seconds=priority)
            assert ReadyRun.objects.get(pk=run_id).order_at == place

    def _trigger(
        self, queue: str, key: str | None, delay: int | None = None, ttl: int | None = None,
        attempts: int = 3, priority: int = 0, **more: Any,
    ) -> UUID:  # fmt: skip
        asked = ask(
            self.scope, now=self.now, queue=queue, concurrency_key=key,
            delay_until=self.now + timedelta(seconds=delay) if delay else None,
            ttl=timedelta(seconds=ttl or 0), max_attempts=attempts, priority_seconds=priority,
            **more,
        )  # fmt: skip
        if not asked.is_cached:
            self.runs[asked.run_id] = Known(status=Q, queue=queue, key=key)
        if asked.waitpoint_id:
            self.points[asked.waitpoint_id] = Point(ends=asked.run_id)
            self.waitpoint = asked.waitpoint_id
        return asked.run_id

    @rule(queue=st.sampled_from(sorted(QUEUES)), key=st.sampled_from(["k1", "k2"]))
    def trigger_with_a_key(self, queue: str, key: str) -> None:
        """A key that lives answers with its run, unless that has failed."""
        holder, expires_at = self.keys.get(key, (None, self.now))
        run_id = self._trigger(queue, None, idempotency_key=key, idempotency_ttl=_KEY_LIFE)
        is_failed = holder and self.runs[holder].status in FINAL - {COMPLETED}
        if holder and expires_at > self.now and not is_failed:
            assert run_id == holder
        else:
            assert run_id != holder
            self.keys[key] = run_id, self.now + _KEY_LIFE
            self._expect(run_id, {Q})

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        run_id = data.draw(st.sampled_from(list(self.runs)), label="run")
        cancel_run(self.scope, run_id=run_id, now=self.now)
        for each in self._tree(run_id):
            status = self.runs[each].status
            if status in {DEQUEUED, EXECUTING}:
                self.runs[each].is_stopping = True
            elif status not in FINAL:
                self._expect(each, {CANCELED})

    def _tree(self, run_id: UUID) -> list[UUID]:
        below = [each for child in self.runs[run_id].children for each in self._tree(child)]
        return [run_id, *below]

    def _forkable(self) -> list[UUID]:
        return [
            run_id for run_id, known in self.runs.items() if known.status in FINAL and known.journal
        ]

    @precondition(lambda self: self._forkable())
    @rule(data=st.data())
    def fork(self, data: Any) -> None:
        """What has ended begins again where it had come to."""
        run_id = data.draw(st.sampled_from(self._forkable()), label="run")
        source = self.runs[run_id]
        seq = data.draw(st.sampled_from(sorted(source.journal)), label="from")
        made = fork_run(self.scope, run_id=run_id, start=str(seq), now=self.now)
        self.runs[made.run_id] = Known(
            status=Q, queue=source.queue, key=source.key,
            journal={n: step for n, step in source.journal.items() if n < seq},
        )  # fmt: skip
        self._expect(made.run_id, {Q})

    # -- Tokens --------------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([None, 5, 40]),
        tags=st.sampled_from([(), ("a", "b")]),
        key=st.sampled_from([None, None, "t"]),
    )
    def make_a_token(self, seconds: int | None, tags: tuple[str, ...], key: str | None) -> None:
        self._token(seconds, tags, key)

    def _token(
        self, seconds: int | None, tags: tuple[str, ...] = (), key: str | None = None
    ) -> UUID:
        holder, expires_at = self.token_keys.get(key or "", (None, self.now))
        life = _TOKEN_LIFE if seconds is None else timedelta(seconds=seconds)
        made = create_token(
            self.scope, timeout_at=self.now + life if seconds else None, tags=tags,
            idempotency_key=key, idempotency_ttl=_KEY_LIFE if key else None, now=self.now,
        )  # fmt: skip
        is_known = holder is not None and expires_at > self.now
        assert made.is_cached == is_known
        if is_known:
            assert made.waitpoint_id == holder
            return made.waitpoint_id
        self.points[made.waitpoint_id] = Point(due_at=self.now + life, is_token=True)
        if key:
            self.token_keys[key] = made.waitpoint_id, self.now + _KEY_LIFE
        return made.waitpoint_id

    def _tokens(self) -> list[UUID]:
        return [point_id for point_id, point in self.points.items() if point.is_token]

    @precondition(lambda self: self._tokens())
    @rule(data=st.data())
    def complete_a_token(self, data: Any) -> None:
        """Only the first completion counts, and none that comes after its time."""
        token = data.draw(st.sampled_from(self._tokens()), label="token")
        output, point = f'"{self.steps}"', self.points[token]
        is_done = complete_token(self.scope, waitpoint_id=token, output=output, now=self.now)
        assert is_done == (point.ok is None)
        if is_done:
            self._close(point, ok=True, output=output)

    # -- Inputs --------------------------------------------------------------------------------

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), key=st.sampled_from(INPUTS), part=st.sampled_from([None, "p"]))
    def send(self, data: Any, key: str, part: str | None) -> None:
        """Items are counted in the order in which they come; the same part counts once."""
        run_id = data.draw(st.sampled_from(list(self.runs)), label="run")
        item = Item(key=key, data=f'"{self.steps}"', part=part)
        if self.runs[run_id].status in FINAL:
            with pytest.raises(InputTooLate):
                send_input(self.scope, run_id=run_id, item=item, now=self.now)
            return
        sent = self.inputs.setdefault((run_id, key), [])
        known = [n for n, (name, _) in enumerate(sent) if part and name == part]
        answer = send_input(self.scope, run_id=run_id, item=item, now=self.now)
        assert (answer.seq, answer.is_cached) == (known[0] if known else len(sent), bool(known))
        if not known:
            sent.append((part, str(item.data)))
            self._arrive(run_id, key, answer.seq)

    def _arrive(self, run_id: UUID, key: str, seq: int) -> None:
        for point in self.points.values():
            if point.item == (run_id, key, seq) and point.ok is None:
                self._close(point, ok=True, output=self.inputs[run_id, key][seq][1])

    # -- Queues --------------------------------------------------------------------------------

    @rule(queue=st.sampled_from(sorted(QUEUES)))
    def pause_or_resume_a_queue(self, queue: str) -> None:
        if queue in self.paused:
            queues.resume_queue(self.scope, name=queue, now=self.now)
        else:
            queues.pause_queue(self.scope, name=queue, now=self.now)
        self.paused ^= {queue}
        self._apply()

    @rule(
        queue=st.sampled_from(sorted(QUEUES)),
        per_key=st.sampled_from([None, 0, 1, 3]),
        total=st.sampled_from([None, 1, 2]),
    )
    def override_or_reset_limits(
        self, queue: str, per_key: int | None, total: int | None
    ) -> None:  # fmt: skip
        if per_key is None and total is None:
            queues.reset_limits(self.scope, name=queue, now=self.now)
            self.caps[queue] = QUEUES[queue]
        else:
            queues.override_limits(
                self.scope, name=queue, per_key=per_key, total=total, now=self.now
            )
            had = self.caps[queue]
            self.caps[queue] = Caps(
                had.per_key if per_key is None else per_key, had.total if total is None else total
            )
        self._apply()

    def _apply(self) -> None:
        """What happens once the change is committed, which a story is not."""
        apply_queues(self.tenant.production.pk, now=self.now)

    # -- Small things --------------------------------------------------------------------------

    def _ancestors(self, run_id: UUID) -> list[UUID]:
        parent = self.runs[run_id].parent
        return [] if parent is None else [parent, *self._ancestors(parent)]

    def _in(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)
