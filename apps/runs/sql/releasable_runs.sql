-- Runs that were triggered without a version of their task, where the current version has it now.
-- Tables: runs_pendingrun, deployments_promotion, deployments_task (read).
-- Parameters: environment uuid or NULL for all, most int.
SELECT p.run_id, c.version_id
FROM runs_pendingrun p
JOIN deployments_promotion c ON c.environment_id = p.environment_id
JOIN deployments_task t ON t.version_id = c.version_id AND t.slug = p.task
WHERE (%(environment)s::uuid IS NULL OR p.environment_id = %(environment)s::uuid)
ORDER BY p.run_id
LIMIT %(most)s
