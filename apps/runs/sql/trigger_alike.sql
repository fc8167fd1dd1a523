-- Accept runs of a batch that differ in nothing but their id, their payload and their place in it:
-- each with its first event, and with the tags, timers and place among the pending ones that all of
-- them have. They are not ready yet.
-- Tables: runs_run, runs_runevent, runs_runtag, runs_timer, runs_pendingrun, runs_batchitem (written).
-- Parameters: run jsonb (all columns of one of them); runs uuid[], events uuid[], payloads text[],
-- indexes int[] (parallel); kinds text[], dues timestamptz[] (parallel: their timers);
-- is_pending boolean.
WITH alike AS MATERIALIZED (
    SELECT * FROM jsonb_populate_record(NULL::runs_run, %(run)s::jsonb)
),
item AS MATERIALIZED (
    SELECT * FROM unnest(
        %(runs)s::uuid[], %(events)s::uuid[], %(payloads)s::text[], %(indexes)s::int[]
    ) AS i (run_id, event_id, payload, index)
),
run AS (
    INSERT INTO runs_run (
        id, payload, batch_index,
        environment_id, task, status, status_reason, queue, concurrency_key, version_id,
        version_number, priority_seconds, payload_type, output, output_type, error, metadata,
        metadata_type, tags, is_test, is_single, is_shared, source, trigger_function,
        idempotency_key, idempotency_options, traceparent, machine, max_attempts,
        max_duration_seconds, ttl_seconds, attempt_count, delivery_count, generation, executed_ms,
        parent_id, root_id, depth, batch_id, replay_of_id, suspended_attempt_id, schedule_id,
        created_at, updated_at, queued_at, delayed_until, started_at, cancel_requested_at,
        finished_at, expired_at
    )
    SELECT
        item.run_id, item.payload, item.index,
        environment_id, task, status, status_reason, queue, concurrency_key, version_id,
        version_number, priority_seconds, payload_type, output, output_type, error, metadata,
        metadata_type, tags, is_test, is_single, is_shared, source, trigger_function,
        idempotency_key, idempotency_options, traceparent, machine, max_attempts,
        max_duration_seconds, ttl_seconds, attempt_count, delivery_count, generation, executed_ms,
        parent_id, root_id, depth, batch_id, replay_of_id, suspended_attempt_id, schedule_id,
        created_at, updated_at, queued_at, delayed_until, started_at, cancel_requested_at,
        finished_at, expired_at
    FROM alike CROSS JOIN item
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at)
    SELECT item.event_id, item.run_id, environment_id, 'triggered', status, 0, created_at
    FROM alike CROSS JOIN item
),
tag AS (
    INSERT INTO runs_runtag (run_id, tag, environment_id)
    SELECT item.run_id, t.tag, environment_id
    FROM alike CROSS JOIN item CROSS JOIN unnest(tags) AS t (tag)
),
timer AS (
    INSERT INTO runs_timer (run_id, kind, due_at)
    SELECT item.run_id, t.kind, t.due_at
    FROM item CROSS JOIN unnest(%(kinds)s::text[], %(dues)s::timestamptz[]) AS t (kind, due_at)
),
pending AS (
    INSERT INTO runs_pendingrun (run_id, environment_id, task)
    SELECT item.run_id, environment_id, task
    FROM alike CROSS JOIN item
    WHERE %(is_pending)s::boolean
)
INSERT INTO runs_batchitem (batch_id, index, task, run_id, is_cached, is_finished)
SELECT batch_id, item.index, task, item.run_id, false, false
FROM alike CROSS JOIN item
