-- Lock the batches that wait for these runs.
-- Tables: runs_batchitem (read), runs_batch (locked in id order). Parameters: runs uuid[].
SELECT id FROM runs_batch
WHERE id IN (
    SELECT batch_id FROM runs_batchitem WHERE run_id = ANY(%(runs)s::uuid[]) AND NOT is_finished
)
ORDER BY id
FOR NO KEY UPDATE
