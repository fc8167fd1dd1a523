-- Close queues none of whose lanes is open, so that claims look at them no more; who opens a lane
-- holds a key-share lock on its queue until the commit, and then the queue stays open.
-- Tables: runs_queueslots (locked, skipping what is locked; written), runs_lane (read).
-- Parameters: most int.
WITH idle AS MATERIALIZED (
    SELECT id FROM runs_queueslots q
    WHERE q.is_open
      AND NOT EXISTS (SELECT FROM runs_lane l WHERE l.slots_id = q.id AND l.is_open)
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
-- asked again under the lock, since a lane may have been opened after this statement began
UPDATE runs_queueslots SET is_open = false
WHERE id IN (SELECT id FROM idle WHERE runs_queue_is_idle(id))
