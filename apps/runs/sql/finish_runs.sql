-- Bring runs to their end: the status and result, the attempt, and everything that a run that has
-- ended must not hold any more (lease, slots, timers, waits, its place in the queue). Completes the
-- waitpoints that stand for them. One with an attempt to record starts it here and ends with it,
-- under the lease that it has: most runs are started and over between two turns. The caller holds
-- the run locks; a run that is final already is left alone and not returned.
-- Tables: runs_run, runs_attempt, runs_waitpoint, runs_runevent (written), runs_lease, runs_readyrun,
-- runs_timer, runs_pendingrun, runs_wait, runs_idempotencykey (removed), runs_environmentslots,
-- runs_queueslots, runs_lane (locked in this order, each in id order, and released).
-- Parameters: runs uuid[], statuses text[], reasons text[], outputs text[], output_types text[],
-- errors text[], told_errors text[], executed bigint[], event_ids uuid[], attempts int[] (null: none
-- is to be recorded), attempt_ids uuid[], start_ids uuid[] (parallel); now.
WITH told AS (
    SELECT t.*, l.version_id, l.session_id, l.generation, v.number AS version_number
    FROM unnest(
        %(runs)s::uuid[], %(statuses)s::text[], %(reasons)s::text[], %(outputs)s::text[],
        %(output_types)s::text[], %(errors)s::text[], %(told_errors)s::text[],
        %(executed)s::bigint[], %(event_ids)s::uuid[], %(attempts)s::int[], %(attempt_ids)s::uuid[],
        %(start_ids)s::uuid[]
    ) AS t (
        run_id, status, reason, output, output_type, error, told_error, executed_ms, event_id,
        attempt, attempt_id, start_id
    )
    LEFT JOIN runs_lease l ON l.run_id = t.run_id AND t.attempt IS NOT NULL
    LEFT JOIN deployments_version v ON v.id = l.version_id
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
              r.started_at
),
lease AS (
    DELETE FROM runs_lease WHERE run_id IN (SELECT id FROM run)
    RETURNING run_id, environment_id, lane_id, holds_slot, attempt_id
),
attempt AS (
    UPDATE runs_attempt a
    SET status = t.status, error = t.error::jsonb, finished_at = %(now)s,
        executed_ms = a.executed_ms + t.executed_ms,
        generation = coalesce(t.generation, a.generation),
        session_id = coalesce(t.session_id, a.session_id),
        version_id = coalesce(t.version_id, a.version_id)
    FROM told t
    JOIN run ON run.id = t.run_id
    LEFT JOIN lease l USING (run_id)
    WHERE a.id = coalesce(l.attempt_id, run.suspended_attempt_id)
),
whole_attempt AS (
    INSERT INTO runs_attempt (id, run_id, number, status, generation, session_id, version_id,
                              started_at, finished_at, executed_ms, error)
    SELECT t.attempt_id, t.run_id, t.attempt, t.status, t.generation, t.session_id, t.version_id,
           %(now)s, %(now)s, t.executed_ms, t.error::jsonb
    FROM told t JOIN run ON run.id = t.run_id
    WHERE t.attempt IS NOT NULL AND run.suspended_attempt_id IS NULL
),
slot AS MATERIALIZED (
    SELECT l.environment_id, n.slots_id, l.lane_id
    FROM lease l JOIN runs_lane n ON n.id = l.lane_id
    WHERE l.holds_slot
),
environment AS MATERIALIZED (
    SELECT environment_id FROM runs_environmentslots
    WHERE environment_id IN (SELECT environment_id FROM slot)
    ORDER BY environment_id
    FOR NO KEY UPDATE
),
queue AS MATERIALIZED (
    SELECT id FROM runs_queueslots
    WHERE id IN (SELECT slots_id FROM slot) AND (SELECT count(*) FROM environment) >= 0
    ORDER BY id
    FOR NO KEY UPDATE
),
lane AS MATERIALIZED (
    SELECT id FROM runs_lane
    WHERE id IN (SELECT lane_id FROM slot) AND (SELECT count(*) FROM queue) >= 0
    ORDER BY id
    FOR NO KEY UPDATE
),
of_environment AS (
    UPDATE runs_environmentslots s SET used = s.used - t.n
    FROM (SELECT environment_id, count(*) AS n FROM slot GROUP BY environment_id) AS t
    WHERE s.environment_id = t.environment_id
      AND s.environment_id IN (SELECT environment_id FROM environment)
),
of_queue AS (
    UPDATE runs_queueslots q SET used = q.used - t.n
    FROM (SELECT slots_id, count(*) AS n FROM slot GROUP BY slots_id) AS t
    WHERE q.id = t.slots_id AND q.id IN (SELECT id FROM queue)
),
of_lane AS (
    UPDATE runs_lane l SET used = l.used - t.n
    FROM (SELECT lane_id, count(*) AS n FROM slot GROUP BY lane_id) AS t
    WHERE l.id = t.lane_id AND l.id IN (SELECT id FROM lane)
),
ready AS (DELETE FROM runs_readyrun WHERE run_id IN (SELECT id FROM run)),
timer AS (DELETE FROM runs_timer WHERE run_id IN (SELECT id FROM run)),
pending AS (DELETE FROM runs_pendingrun WHERE run_id IN (SELECT id FROM run)),
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
    SET completed_at = %(now)s, output = t.output, output_type = t.output_type,
        error = t.told_error::jsonb
    FROM told t JOIN run ON run.id = t.run_id
    WHERE w.kind = 'run' AND w.run_id = t.run_id AND w.completed_at IS NULL
    RETURNING w.id, w.run_id
),
event AS (
    INSERT INTO runs_runevent (id, run_id, environment_id, kind, status, attempt, at, detail)
    SELECT e.id, run.id, run.environment_id, e.kind, e.status, run.attempt_count, %(now)s, e.detail
    FROM told t
    JOIN run ON run.id = t.run_id
    CROSS JOIN LATERAL (
        SELECT 1 AS nth, t.start_id AS id,
               CASE WHEN run.suspended_attempt_id IS NULL THEN 'started' ELSE 'resumed' END AS kind,
               'EXECUTING' AS status, NULL::jsonb AS detail
        WHERE t.attempt IS NOT NULL
        UNION ALL
        SELECT 2, t.event_id, lower(t.status), t.status,
               CASE
                   WHEN run.status_reason <> ''
                       THEN jsonb_build_object('reason', run.status_reason)
               END
    ) AS e
    ORDER BY run.id, e.nth  -- their positions
)
SELECT CASE
           WHEN t.attempt IS NOT NULL AND run.started_at = %(now)s THEN run.queued_at
       END AS started_after,
       run.id, run.environment_id, run.status, w.id AS waitpoint_id,
       run.batch_id IS NOT NULL OR run.idempotency_key IS NOT NULL OR run.is_shared AS may_be_in_batch,
       coalesce(
           l.holds_slot AND (
               n.used >= n.cap OR q.used >= least(q.cap, e.concurrency_limit)
               OR s.used >= e.concurrency_limit
           ),
           false
       ) AS unblocks,
       CASE WHEN l.holds_slot AND g.concurrency_limit IS NOT NULL THEN g.id END AS limited_organization
FROM run
JOIN told t ON t.run_id = run.id
LEFT JOIN waitpoint w ON w.run_id = run.id
LEFT JOIN lease l ON l.run_id = run.id
LEFT JOIN runs_lane n ON n.id = l.lane_id  -- all as they were before this statement
LEFT JOIN runs_queueslots q ON q.id = n.slots_id
LEFT JOIN runs_environmentslots s ON s.environment_id = run.environment_id
LEFT JOIN environments_environment e ON e.id = run.environment_id
LEFT JOIN orgs_organization g ON g.id = e.organization_id
