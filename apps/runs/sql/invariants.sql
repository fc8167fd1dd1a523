-- Count what must never be (the architecture's invariants), over the hot set only, so that it can
-- run against a live system; work that a transaction is doing right now is not visible here.
-- Tables: the hot tables and the runs they name (read). Parameters: now.
SELECT 'a final run holds a lease' AS rule, count(*) AS violations
FROM runs_lease l JOIN runs_run r ON r.id = l.run_id WHERE r.finished_at IS NOT NULL
UNION ALL
SELECT 'a lease names a run that does not exist', count(*)
FROM runs_lease l WHERE NOT EXISTS (SELECT FROM runs_run r WHERE r.id = l.run_id)
UNION ALL
SELECT 'a lease has another generation than its run', count(*)
FROM runs_lease l JOIN runs_run r ON r.id = l.run_id WHERE r.generation <> l.generation
UNION ALL
SELECT 'an executing run has no lease', count(*)
FROM runs_attempt a JOIN runs_run r ON r.id = a.run_id
WHERE a.finished_at IS NULL AND r.status IN ('DEQUEUED', 'EXECUTING', 'WAITING')
  AND NOT EXISTS (SELECT FROM runs_lease l WHERE l.run_id = r.id)
  AND NOT (r.status = 'WAITING' AND r.suspended_attempt_id = a.id)
UNION ALL
SELECT 'a run that was let go of lacks a wake-up source', count(*)
FROM runs_attempt a JOIN runs_run r ON r.id = a.run_id
WHERE a.finished_at IS NULL AND r.status = 'WAITING' AND r.suspended_attempt_id = a.id
  AND NOT EXISTS (SELECT FROM runs_wait w WHERE w.run_id = r.id)
UNION ALL
SELECT 'a ready run is not queued', count(*)
FROM runs_readyrun y LEFT JOIN runs_run r ON r.id = y.run_id WHERE r.status IS DISTINCT FROM 'QUEUED'
UNION ALL
SELECT 'a ready run is in a closed lane', count(*)
FROM runs_readyrun y JOIN runs_lane n ON n.id = y.lane_id
WHERE NOT n.is_open AND y.session_id IS NULL
UNION ALL
SELECT 'a lane counts other slots than its leases hold', count(*)
FROM runs_lane n
LEFT JOIN (SELECT lane_id, count(*) AS held FROM runs_lease WHERE holds_slot GROUP BY 1) AS l
    ON l.lane_id = n.id
WHERE n.used <> coalesce(l.held, 0)
UNION ALL
SELECT 'a queue counts other slots than its leases hold', count(*)
FROM runs_queueslots q
LEFT JOIN (
    SELECT n.slots_id, count(*) AS held
    FROM runs_lease l JOIN runs_lane n ON n.id = l.lane_id
    WHERE l.holds_slot GROUP BY 1
) AS l ON l.slots_id = q.id
WHERE q.used <> coalesce(l.held, 0)
UNION ALL
SELECT 'a lease or a ready run is in a lane that does not exist', count(*)
FROM (
    SELECT lane_id FROM runs_lease WHERE holds_slot UNION ALL SELECT lane_id FROM runs_readyrun
) AS x
WHERE NOT EXISTS (SELECT FROM runs_lane n WHERE n.id = x.lane_id)
UNION ALL
SELECT 'an open lane is in a closed queue', count(*)
FROM runs_lane n JOIN runs_queueslots q ON q.id = n.slots_id
WHERE n.is_open AND NOT q.is_open
UNION ALL
SELECT 'an environment counts other slots than its leases hold', count(*)
FROM runs_environmentslots s
LEFT JOIN (SELECT environment_id, count(*) AS held FROM runs_lease WHERE holds_slot GROUP BY 1) AS l
    ON l.environment_id = s.environment_id
WHERE s.used <> coalesce(l.held, 0)
UNION ALL
SELECT 'a waiting run holds a slot', count(*)
FROM runs_lease l JOIN runs_run r ON r.id = l.run_id
WHERE r.status = 'WAITING' AND l.holds_slot
UNION ALL
SELECT 'an executing run holds no slot', count(*)
FROM runs_lease l JOIN runs_run r ON r.id = l.run_id
WHERE r.status IN ('DEQUEUED', 'EXECUTING') AND NOT l.holds_slot
UNION ALL
SELECT 'a waiting run lacks a wake-up source', count(*)
FROM runs_lease l JOIN runs_run r ON r.id = l.run_id
WHERE r.status = 'WAITING' AND NOT EXISTS (SELECT FROM runs_wait w WHERE w.run_id = r.id)
UNION ALL
SELECT 'a completed waitpoint has not woken a run that waits for any', count(*)
FROM runs_wait w
JOIN runs_waitpoint p ON p.id = w.waitpoint_id
JOIN runs_run r ON r.id = w.run_id
WHERE r.status = 'WAITING' AND NOT w.needs_all AND p.completed_at < %(now)s::timestamptz - interval '10 seconds'
  AND NOT EXISTS (SELECT FROM runs_waking m WHERE m.waitpoint_id = p.id AND m.after < w.run_id)
UNION ALL
SELECT 'a waitpoint is open although its run has ended', count(*)
FROM runs_wait w
JOIN runs_waitpoint p ON p.id = w.waitpoint_id
JOIN runs_run c ON c.id = p.run_id
WHERE p.kind = 'run' AND p.completed_at IS NULL AND c.finished_at IS NOT NULL
UNION ALL
SELECT 'a sealed batch is open although all its items have ended', count(*)
FROM runs_batch b
WHERE b.sealed_at IS NOT NULL AND b.completed_at IS NULL
  AND NOT EXISTS (SELECT FROM runs_batchitem i WHERE i.batch_id = b.id AND NOT i.is_finished)
UNION ALL
SELECT 'a lease expired long ago and was not rescued', count(*)
FROM runs_lease WHERE expires_at < %(now)s::timestamptz - interval '1 minute'
UNION ALL
SELECT 'a timer is long overdue', count(*)
FROM runs_timer WHERE due_at < %(now)s::timestamptz - interval '1 minute'
