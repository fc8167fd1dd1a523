-- What is over its limit now, from the top down. Rightly so only while what started under a higher
-- limit goes on.
-- Tables: runs_environmentslots, runs_queueslots, runs_lane, environments_environment,
-- orgs_organization (read). No parameters.
SELECT 'organization ' || g.slug AS what, sum(s.used)::int AS used, g.concurrency_limit AS cap
FROM runs_environmentslots s
JOIN environments_environment e ON e.id = s.environment_id
JOIN orgs_organization g ON g.id = e.organization_id
WHERE g.concurrency_limit IS NOT NULL
GROUP BY g.id
HAVING sum(s.used) > g.concurrency_limit
UNION ALL
SELECT 'environment ' || e.slug, s.used, floor(e.concurrency_limit * e.burst_factor)::int
FROM runs_environmentslots s
JOIN environments_environment e ON e.id = s.environment_id
WHERE s.used > floor(e.concurrency_limit * e.burst_factor)
UNION ALL
SELECT 'queue ' || q.queue, q.used, least(q.cap, e.concurrency_limit)
FROM runs_queueslots q
JOIN environments_environment e ON e.id = q.environment_id
WHERE q.used > least(q.cap, e.concurrency_limit)
UNION ALL
SELECT 'queue ' || queue || ' for key ' || key, used, cap FROM runs_lane WHERE used > cap
