-- Take keys for runs: a key that is free or has expired becomes this run's, one that is live keeps
-- its run and is only read. Concurrent callers of one free key wait for each other here.
-- Tables: runs_idempotencykey (read, inserted or updated in key order).
-- Parameters: environment uuid, kind text, tasks text[], digests bytea[], runs uuid[], expiries
-- timestamptz[] (parallel, each key once); now.
WITH asked AS (
    SELECT * FROM unnest(
        %(tasks)s::text[], %(digests)s::bytea[], %(runs)s::uuid[], %(expiries)s::timestamptz[]
    ) AS t (task, digest, run_id, expires_at)
),
live AS (
    SELECT k.task, k.digest, k.run_id
    FROM asked a
    JOIN runs_idempotencykey k
        ON k.environment_id = %(environment)s::uuid AND k.kind = %(kind)s
        AND k.task = a.task AND k.digest = a.digest
    WHERE k.expires_at > %(now)s
),
taken AS (
    INSERT INTO runs_idempotencykey AS k
        (environment_id, kind, task, digest, run_id, created_at, expires_at)
    SELECT %(environment)s::uuid, %(kind)s, a.task, a.digest, a.run_id, %(now)s, a.expires_at
    FROM asked a
    WHERE NOT EXISTS (SELECT FROM live l WHERE (l.task, l.digest) = (a.task, a.digest))
    ORDER BY a.task, a.digest
    ON CONFLICT (environment_id, kind, task, digest) DO UPDATE
    SET run_id = CASE WHEN k.expires_at <= %(now)s THEN excluded.run_id ELSE k.run_id END,
        created_at = CASE WHEN k.expires_at <= %(now)s THEN excluded.created_at ELSE k.created_at END,
        expires_at = CASE WHEN k.expires_at <= %(now)s THEN excluded.expires_at ELSE k.expires_at END
    RETURNING k.task, k.digest, k.run_id
)
SELECT task, digest, run_id FROM live
UNION ALL
SELECT task, digest, run_id FROM taken
