-- The journals of runs that are handed out: the entries of those that fit into a message, and of
-- the others only the first, which says how long they are.
-- Tables: runs_journalentry (read). Parameters: runs uuid[], most bigint (bytes).
WITH size AS (
    SELECT run_id, count(*) AS length, min(seq) AS first,
           sum(coalesce(octet_length(output), 0) + coalesce(pg_column_size(error), 0) + 200) AS bytes
    FROM runs_journalentry
    WHERE run_id = ANY(%(runs)s::uuid[])
    GROUP BY run_id
)
SELECT e.*, s.length, s.bytes <= %(most)s AS is_whole
FROM size s
JOIN runs_journalentry e ON e.run_id = s.run_id AND (s.bytes <= %(most)s OR e.seq = s.first)
ORDER BY e.run_id, e.seq
