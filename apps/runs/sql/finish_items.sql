-- Tick off the items of these runs; returns those of the batches, which the caller has locked, that
-- are sealed and wait for nothing else.
-- Tables: runs_batchitem (written), runs_batch (read). Parameters: runs uuid[], batches uuid[].
WITH item AS (
    UPDATE runs_batchitem SET is_finished = true
    WHERE run_id = ANY(%(runs)s::uuid[]) AND NOT is_finished
)
SELECT id FROM runs_batch b
WHERE id = ANY(%(batches)s::uuid[]) AND sealed_at IS NOT NULL AND completed_at IS NULL
  AND NOT EXISTS (
      SELECT FROM runs_batchitem i
      WHERE i.batch_id = b.id AND NOT i.is_finished
        AND (i.run_id = ANY(%(runs)s::uuid[])) IS NOT TRUE
  )
