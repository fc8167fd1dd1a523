-- Runs without a version whose task the current version of their environment has.
-- Tables: runs_pendingrun (locked, skipping what is locked), deployments_promotion,
-- deployments_task (read). Parameters: environment uuid or NULL for all, most int.
SELECT p.run_id
FROM runs_pendingrun p
JOIN deployments_promotion c ON c.environment_id = p.environment_id
JOIN deployments_task t ON t.version_id = c.version_id AND t.slug = p.task
WHERE (%(environment)s::uuid IS NULL OR p.environment_id = %(environment)s::uuid)
ORDER BY p.run_id
LIMIT %(most)s
FOR UPDATE OF p SKIP LOCKED
