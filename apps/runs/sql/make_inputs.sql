-- Make the waitpoints of items that runs wait for, completed where the item has been sent already or
-- the time is over. One whose id is known stays as it is. The caller holds the locks of the inputs.
-- Tables: runs_input (read), runs_waitpoint (written). Parameters: ids uuid[], environments uuid[],
-- runs uuid[], keys text[], seqs int[], dues timestamptz[] (parallel); tags
-- text[], idempotency_key text, idempotency_expires_at, late text, now.
INSERT INTO runs_waitpoint (
    id, environment_id, kind, run_id, key, seq, due_at, tags, idempotency_key,
    idempotency_expires_at, output, output_type, error, created_at, completed_at
)
SELECT t.id, t.environment_id, 'input', t.run_id, t.key, t.seq, t.due_at, %(tags)s::text[],
       %(idempotency_key)s, %(idempotency_expires_at)s::timestamptz,
       i.data, coalesce(i.data_type, 'application/json'),
       CASE WHEN i.run_id IS NULL AND t.due_at <= %(now)s THEN %(late)s::jsonb END,
       %(now)s,
       CASE WHEN i.run_id IS NOT NULL OR t.due_at <= %(now)s THEN %(now)s::timestamptz END
FROM unnest(
    %(ids)s::uuid[], %(environments)s::uuid[], %(runs)s::uuid[], %(keys)s::text[], %(seqs)s::int[],
    %(dues)s::timestamptz[]
) AS t (id, environment_id, run_id, key, seq, due_at)
LEFT JOIN runs_input i ON i.run_id = t.run_id AND i.key = t.key AND i.seq = t.seq
ORDER BY t.id  -- since two that insert the same id wait for each other
ON CONFLICT DO NOTHING
