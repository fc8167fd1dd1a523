-- Take keys for runs: a key that is free or has expired becomes this run's, one that is live keeps
-- its run. Concurrent callers of one key wait for each other here.
-- Tables: runs_idempotencykey (inserted or updated).
-- Parameters: environment, kind, tasks text[], digests bytea[], runs uuid[], expiries
-- timestamptz[] (parallel, each key once, in key order); now.
INSERT INTO runs_idempotencykey AS k (environment_id, kind, task, digest, run_id, created_at, expires_at)
SELECT %(environment)s, %(kind)s, t.task, t.digest, t.run_id, %(now)s, t.expires_at
FROM unnest(%(tasks)s::text[], %(digests)s::bytea[], %(runs)s::uuid[], %(expiries)s::timestamptz[])
    AS t (task, digest, run_id, expires_at)
ON CONFLICT (environment_id, kind, task, digest) DO UPDATE
SET run_id = CASE WHEN k.expires_at <= %(now)s THEN excluded.run_id ELSE k.run_id END,
    created_at = CASE WHEN k.expires_at <= %(now)s THEN excluded.created_at ELSE k.created_at END,
    expires_at = CASE WHEN k.expires_at <= %(now)s THEN excluded.expires_at ELSE k.expires_at END
RETURNING k.task, k.digest, k.run_id
