-- Complete waitpoints whose time has come: a time has passed, all else has timed out.
-- Those that another transaction has locked are left for the next look. Returns them.
-- Tables: runs_waitpoint (locked, skipping what is locked, and written).
-- Parameters: now; timed_out text, no_input text (the errors of those that are given up); most int.
WITH due AS MATERIALIZED (
    SELECT id FROM runs_waitpoint
    WHERE completed_at IS NULL AND due_at <= %(now)s
    ORDER BY due_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
UPDATE runs_waitpoint w
SET completed_at = %(now)s,
    error = CASE w.kind
        WHEN 'time' THEN NULL
        WHEN 'input' THEN %(no_input)s::jsonb
        ELSE %(timed_out)s::jsonb
    END
FROM due
WHERE w.id = due.id
RETURNING w.id
