-- What happened to runs of some environments after a cursor of each, in the order of commits, with
-- the oldest transaction that may still add something: every event below it is here.
--
-- Each environment gives at least one row, so that its reader learns how far it has read even when
-- nothing happened.
-- Tables: runs_runevent, by run_event_cursor; runs_run, by its key (both read).
-- Parameters: environments uuid[], transactions bigint[], ids uuid[], floors uuid[] (parallel;
-- no event after the cursor has an id below its floor, which spares the partitions of older days);
-- most int.
SELECT w.environment_id, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
       e.transaction, e.id, e.run_id, e.kind, e.status, e.attempt, e.at,
       r.task, r.tags, r.parent_id, r.root_id, r.batch_id
FROM unnest(
    %(environments)s::uuid[], %(transactions)s::bigint[], %(ids)s::uuid[], %(floors)s::uuid[]
) AS w (environment_id, transaction, id, floor)
LEFT JOIN LATERAL (
    SELECT * FROM runs_runevent
    WHERE environment_id = w.environment_id
      AND (transaction, id) > (w.transaction, w.id)
      AND id >= w.floor
    ORDER BY transaction, id
    LIMIT %(most)s
) AS e ON true
LEFT JOIN runs_run r ON r.id = e.run_id
ORDER BY w.environment_id, e.transaction, e.id
