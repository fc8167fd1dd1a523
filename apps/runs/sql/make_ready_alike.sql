-- Put runs that have everything but their id in common into their lane, which is open.
-- Tables: runs_readyrun (written).
-- Parameters: runs uuid[], environment uuid, lane bigint, version uuid, machine text, order_at.
INSERT INTO runs_readyrun (run_id, environment_id, lane_id, version_id, machine, order_at)
SELECT r.run_id, %(environment)s::uuid, %(lane)s::bigint, %(version)s::uuid, %(machine)s::text,
       %(order_at)s::timestamptz
FROM unnest(%(runs)s::uuid[]) AS r (run_id)
