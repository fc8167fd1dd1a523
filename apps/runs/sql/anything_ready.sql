-- Whether a run is ready in any of these environments, be it blocked or not: asked before a claim that
-- is not likely to get anything.
-- Tables: runs_readyrun (read). Parameters: environments uuid[].
SELECT 1 FROM runs_readyrun WHERE environment_id = ANY(%(environments)s::uuid[]) LIMIT 1
