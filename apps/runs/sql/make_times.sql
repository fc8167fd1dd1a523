-- Make the waitpoints of times; an id that is known keeps the time it had first.
-- Tables: runs_waitpoint (written in id order, since two that insert the same wait for each other).
-- Parameters: ids uuid[], environments uuid[], dues timestamptz[] (parallel); now.
INSERT INTO runs_waitpoint (id, environment_id, kind, due_at, tags, output_type, created_at,
                            completed_at)
SELECT id, environment_id, 'time', due_at, '{}', 'application/json', %(now)s,
       CASE WHEN due_at <= %(now)s THEN %(now)s END
FROM unnest(%(ids)s::uuid[], %(environments)s::uuid[], %(dues)s::timestamptz[])
    AS t (id, environment_id, due_at)
ORDER BY id
ON CONFLICT (id) DO NOTHING
