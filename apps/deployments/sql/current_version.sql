-- The version that new runs of an environment get; asked on every trigger.
-- Tables: deployments_promotion, deployments_version (read). Parameters: environment.
SELECT v.id, v.number
FROM deployments_promotion p JOIN deployments_version v ON v.id = p.version_id
WHERE p.environment_id = %(environment)s
