-- What happened to runs of some environments after a cursor of each, in the order of commits, with
-- the oldest transaction that may still add something: every event below it is here.
--
-- Each environment gives at least one row, so that its reader learns how far it has read even when
-- nothing happened. The runs are looked up one by one: as a plain join, the planner may read all of
-- them for a handful of events. No bound on the ids, though it would spare old partitions: the
-- planner then takes the primary key, and reads hours of events instead of what is new.
-- Tables: runs_runevent, by run_event_cursor; runs_run, by its key (both read).
-- Parameters: environments uuid[], transactions bigint[], ids uuid[] (parallel); most int.
SELECT w.environment_id, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
       e.transaction, e.id, e.run_id, e.kind, e.status, e.attempt, e.at,
       r.task, r.tags, r.parent_id, r.root_id, r.batch_id
FROM unnest(
    %(environments)s::uuid[], %(transactions)s::bigint[], %(ids)s::uuid[]
) AS w (environment_id, transaction, id)
LEFT JOIN LATERAL (
    SELECT * FROM runs_runevent
    WHERE environment_id = w.environment_id AND (transaction, id) > (w.transaction, w.id)
    ORDER BY transaction, id
    LIMIT %(most)s
) AS e ON true
LEFT JOIN LATERAL (
    SELECT task, tags, parent_id, root_id, batch_id FROM runs_run WHERE id = e.run_id LIMIT 1
) AS r ON true
ORDER BY w.environment_id, e.transaction, e.id
