-- Whether a pool whose provider has nothing may have anything to do: asked before all that a
-- reconciliation reads. It acts on live instances, for ready runs, and to keep shipped versions warm
-- that were promoted, or whose workers were busy, since then.
-- Tables: deployments_instance, deployments_promotion, deployments_version, runs_readyrun (read).
-- Parameters: pool uuid, since timestamptz.
SELECT EXISTS (SELECT FROM runs_readyrun)
    OR EXISTS (
        SELECT FROM deployments_instance
        WHERE pool_id = %(pool)s::uuid AND state IN ('starting', 'running', 'stopping')
    )
    OR EXISTS (
        SELECT FROM deployments_promotion p
        JOIN deployments_version v ON v.id = p.version_id
        WHERE p.promoted_at > %(since)s::timestamptz AND v.archive <> ''
    )
    OR EXISTS (SELECT FROM deployments_instance WHERE busy_at > %(since)s::timestamptz) AS may_act
