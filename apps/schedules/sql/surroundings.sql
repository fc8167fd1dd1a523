-- What bears on these schedules: whose they are, whether their task is in the promoted version, whether
-- anybody is there in development, and whether their latest run is open.
-- Tables: schedules_schedule, environments_environment, projects_project, deployments_promotion,
-- deployments_task, deployments_workersession, runs_run (read).
-- Parameters: ids uuid[].
WITH wanted AS MATERIALIZED (
    SELECT s.id, s.environment_id, s.task, s.latest_run_id
    FROM schedules_schedule s
    WHERE s.id = ANY (%(ids)s::uuid[])
),
places AS MATERIALIZED (
    SELECT e.id, e.organization_id, e.project_id, m.version_id,
           e.archived_at IS NOT NULL OR p.archived_at IS NOT NULL AS is_archived,
           e.type = 'development' AND NOT EXISTS (
               SELECT FROM deployments_workersession w
               WHERE w.environment_id = e.id AND w.disconnected_at IS NULL
           ) AS is_deserted
    FROM environments_environment e
    JOIN projects_project p ON p.id = e.project_id
    LEFT JOIN deployments_promotion m ON m.environment_id = e.id
    WHERE e.id IN (SELECT environment_id FROM wanted)
),
present AS MATERIALIZED (
    SELECT DISTINCT places.id AS environment_id, t.slug
    FROM places
    JOIN deployments_task t ON t.version_id = places.version_id
)
SELECT w.id, places.organization_id, places.project_id, places.is_archived, places.is_deserted,
       present.slug IS NOT NULL AS has_task,
       r.id IS NOT NULL AS is_open
FROM wanted w
JOIN places ON places.id = w.environment_id
LEFT JOIN present ON present.environment_id = w.environment_id AND present.slug = w.task
LEFT JOIN runs_run r ON r.id = w.latest_run_id AND r.finished_at IS NULL
