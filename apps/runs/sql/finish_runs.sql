-- Bring runs to their end: the status and result, the attempt, and everything that a run that has
-- ended must not hold any more (lease, slots, timers, waits, its place in the queue). Completes the
-- waitpoints that stand for them. One with an attempt to record starts it here and ends with it,
-- under the lease that it has: most runs are started and over between two turns. The caller holds
-- the run locks; a run that is final already is left alone and not returned. With the first row
-- come the environments in which something may start now that could not before.
--
-- What is needed of a run later on goes through `told` and the UPDATE of the run: a join of two of
-- these sets, which PostgreSQL thinks to be of one row each, costs as much as their product.
-- Tables: runs_run, runs_attempt, runs_waitpoint, runs_runevent (written), runs_lease, runs_readyrun,
-- runs_timer, runs_pendingrun, runs_wait, runs_idempotencykey (removed), runs_environmentslots,
-- runs_queueslots, runs_lane (locked in this order, each in id order, and released).
-- Parameters: runs uuid[], statuses text[], reasons text[], outputs text[], output_types text[],
-- errors text[], told_errors text[], executed bigint[], event_ids uuid[], attempts int[] (null: none
-- is to be recorded), attempt_ids uuid[], start_ids uuid[] (parallel); now.
WITH told AS (
    SELECT t.*, l.lane_id, l.holds_slot, l.attempt_id AS held_attempt_id,
           CASE WHEN t.attempt IS NOT NULL THEN l.session_id END AS session_id,
           CASE WHEN t.attempt IS NOT NULL THEN l.generation END AS generation,
           v.id AS version_id, v.number AS version_number
    FROM unnest(
        %(runs)s::uuid[], %(statuses)s::text[], %(reasons)s::text[], %(outputs)s::text[],
        %(output_types)s::text[], %(errors)s::text[], %(told_errors)s::text[],
        %(executed)s::bigint[], %(event_ids)s::uuid[], %(attempts)s::int[], %(attempt_ids)s::uuid[],
        %(start_ids)s::uuid[]
    ) AS t (
        run_id, status, reason, output, output_type, error, told_error, executed_ms, event_id,
        attempt, attempt_id, start_id
    )
    LEFT JOIN runs_lease l ON l.run_id = t.run_id
    LEFT JOIN deployments_version v ON v.id = l.version_id AND t.attempt IS NOT NULL
),
run AS (
    UPDATE runs_run r
    SET status = t.status, output = t.output, output_type = t.output_type,
        error = t.error::jsonb, executed_ms = r.executed_ms + t.executed_ms, delayed_until = NULL,
        finished_at = %(now)s, updated_at = %(now)s,
        status_reason = CASE
            WHEN t.reason = '' AND t.status = 'CANCELED' AND r.cancel_requested_at IS NOT NULL
                THEN r.status_reason  -- why it was asked to stop
            ELSE t.reason
        END,
        expired_at = CASE WHEN t.status = 'EXPIRED' THEN %(now)s END,
        attempt_count = coalesce(t.attempt, r.attempt_count),
        delivery_count = CASE WHEN t.attempt IS NULL THEN r.delivery_count ELSE 0 END,
        started_at = CASE
            WHEN t.attempt IS NULL THEN r.started_at ELSE coalesce(r.started_at, %(now)s)
        END,
        version_id = coalesce(t.version_id, r.version_id),
        version_number = coalesce(t.version_number, r.version_number)
    FROM told t
    WHERE r.id = t.run_id AND r.finished_at IS NULL
    RETURNING r.id, r.environment_id, r.status, r.status_reason, r.attempt_count,
              r.idempotency_key, r.batch_id, r.is_shared, r.suspended_attempt_id, r.queued_at,
              r.started_at, t.lane_id, t.holds_slot, t.held_attempt_id, t.session_id, t.generation,
              t.version_id, t.attempt, t.attempt_id, t.start_id, t.event_id, t.output,
              t.output_type, t.error, t.told_error, t.executed_ms
),
lease AS (DELETE FROM runs_lease WHERE run_id IN (SELECT id FROM run WHERE lane_id IS NOT NULL)),
attempt AS (
    UPDATE runs_attempt a
    SET status = run.status, error = run.error::jsonb, finished_at = %(now)s,
        executed_ms = a.executed_ms + run.executed_ms,
        generation = coalesce(run.generation, a.generation),
        session_id = coalesce(run.session_id, a.session_id),
        version_id = coalesce(run.version_id, a.version_id)
    FROM run
    WHERE a.id = coalesce(run.held_attempt_id, run.suspended_attempt_id)
),
whole_attempt AS (
    INSERT INTO runs_attempt (id, run_id, number, status, generation, session_id, version_id,
                              started_at, finished_at, executed_ms, error)
    SELECT attempt_id, id, attempt, status, generation, session_id, version_id, %(now)s, %(now)s,
           executed_ms, error::jsonb
    FROM run
    WHERE attempt IS NOT NULL AND suspended_attempt_id IS NULL
),
slot AS MATERIALIZED (
    SELECT nullif(runs_release_slots(array_agg(lane_id)), '{}') AS unblocked
    FROM run
    WHERE holds_slot
),
ready AS (DELETE FROM runs_readyrun WHERE run_id IN (SELECT id FROM run)),
timer AS (DELETE FROM runs_timer WHERE run_id IN (SELECT id FROM run)),
pending AS (
    DELETE FROM runs_pendingrun WHERE run_id IN (SELECT id FROM run WHERE lane_id IS NULL)
),
wait AS (DELETE FROM runs_wait WHERE run_id IN (SELECT id FROM run)),
key AS (
    -- a run that did not succeed gives its key back, so that the next trigger runs again
    DELETE FROM runs_idempotencykey
    WHERE kind = 'user'
      AND run_id IN (
          SELECT id FROM run WHERE idempotency_key IS NOT NULL AND status <> 'COMPLETED'
      )
),
waitpoint AS (
    UPDATE runs_waitpoint w
    SET completed_at = %(now)s, output = run.output, output_type = run.output_type,
        error = run.told_error::jsonb
    FROM run
    WHERE w.kind = 'run' AND w.run_id = run.id AND w.completed_at IS NULL
    RETURNING w.id, w.run_id
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at, detail)
    SELECT e.id, run.id, run.environment_id, e.kind, e.status, run.attempt_count, %(now)s, e.detail
    FROM run
    CROSS JOIN LATERAL (
        SELECT 1 AS nth, run.start_id AS id,
               CASE WHEN run.suspended_attempt_id IS NULL THEN 'started' ELSE 'resumed' END AS kind,
               'EXECUTING' AS status, NULL::jsonb AS detail
        WHERE run.attempt IS NOT NULL
        UNION ALL
        SELECT 2, run.event_id, lower(run.status), run.status,
               CASE
                   WHEN run.status_reason <> ''
                       THEN jsonb_build_object('reason', run.status_reason)
               END
    ) AS e
    ORDER BY run.id, e.nth  -- their positions
)
SELECT CASE
           WHEN run.attempt IS NOT NULL AND run.started_at = %(now)s THEN run.queued_at
       END AS started_after,
       run.id, run.status, w.id AS waitpoint_id,
       run.batch_id IS NOT NULL OR run.idempotency_key IS NOT NULL OR run.is_shared AS may_be_in_batch,
       CASE WHEN row_number() OVER () = 1 THEN slot.unblocked END AS unblocked
FROM run
CROSS JOIN slot
LEFT JOIN waitpoint w ON w.run_id = run.id
