-- Wait for the slots of these environments, and of all others of their organizations where these have
-- a limit: what a claim skipped because another process had it.
-- Tables: runs_environmentslots (locked in id order), environments_environment, orgs_organization
-- (read). Parameters: environments uuid[].
SELECT environment_id FROM runs_environmentslots
WHERE environment_id = ANY(%(environments)s::uuid[])
   OR environment_id IN (
       SELECT e.id
       FROM environments_environment mine
       JOIN orgs_organization g ON g.id = mine.organization_id AND g.concurrency_limit IS NOT NULL
       JOIN environments_environment e ON e.organization_id = g.id
       WHERE mine.id = ANY(%(environments)s::uuid[])
   )
ORDER BY environment_id
FOR NO KEY UPDATE
