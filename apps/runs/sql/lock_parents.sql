-- Lock runs that get children, as weakly as can be: only their cancellation waits for it, which
-- then sees the children.
-- Tables: runs_run (key-share locked). Parameters: environment uuid, runs uuid[].
SELECT id, coalesce(root_id, id) AS root_id, depth, version_number,
       finished_at IS NOT NULL OR cancel_requested_at IS NOT NULL AS is_ending
FROM runs_run
WHERE id = ANY(%(runs)s::uuid[]) AND environment_id = %(environment)s::uuid
ORDER BY id
FOR KEY SHARE
