from django.db import migrations

# Give slots back, one for each time that a lane is named: every statement that gives some back calls
# this once. The levels are locked from the top down, each by id, in the order of all locks of slots.
# Returns the environments in which something may start now that could not before: those in which a
# level had no room, and where their organization has a limit of its own, all of that.
RELEASE = '''
CREATE FUNCTION runs_release_slots(lanes bigint[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    unblocked uuid[];
BEGIN
    IF lanes IS NULL THEN
        RETURN '{}';
    END IF;
    PERFORM FROM runs_environmentslots
    WHERE environment_id IN (SELECT environment_id FROM runs_lane WHERE id = ANY(lanes))
    ORDER BY environment_id FOR NO KEY UPDATE;
    PERFORM FROM runs_queueslots
    WHERE id IN (SELECT slots_id FROM runs_lane WHERE id = ANY(lanes))
    ORDER BY id FOR NO KEY UPDATE;
    PERFORM FROM runs_lane WHERE id = ANY(lanes) ORDER BY id FOR NO KEY UPDATE;
    SELECT array_agg(DISTINCT b.environment_id) INTO unblocked
    FROM runs_lane n
    JOIN runs_queueslots q ON q.id = n.slots_id
    JOIN runs_environmentslots s ON s.environment_id = n.environment_id
    JOIN environments_environment e ON e.id = n.environment_id
    JOIN orgs_organization g ON g.id = e.organization_id
    CROSS JOIN LATERAL (
        SELECT n.environment_id
        WHERE n.used >= n.cap OR q.used >= least(q.cap, e.concurrency_limit)
           OR s.used >= e.concurrency_limit
        UNION ALL
        SELECT o.environment_id
        FROM environments_environment x
        JOIN runs_environmentslots o ON o.environment_id = x.id
        WHERE g.concurrency_limit IS NOT NULL AND x.organization_id = g.id
    ) AS b
    WHERE n.id = ANY(lanes);
    UPDATE runs_environmentslots s SET used = s.used - t.n
    FROM (
        SELECT n.environment_id, count(*) AS n
        FROM unnest(lanes) AS l (id) JOIN runs_lane n USING (id)
        GROUP BY n.environment_id
    ) AS t
    WHERE s.environment_id = t.environment_id;
    UPDATE runs_queueslots q SET used = q.used - t.n
    FROM (
        SELECT n.slots_id, count(*) AS n
        FROM unnest(lanes) AS l (id) JOIN runs_lane n USING (id)
        GROUP BY n.slots_id
    ) AS t
    WHERE q.id = t.slots_id;
    UPDATE runs_lane n SET used = n.used - t.n
    FROM (SELECT id, count(*) AS n FROM unnest(lanes) AS l (id) GROUP BY id) AS t
    WHERE n.id = t.id;
    RETURN coalesce(unblocked, '{}');
END
$$;
'''


class Migration(migrations.Migration):

    dependencies = [('runs', '0013_inputs')]

    operations = [
        migrations.RunSQL(RELEASE, 'DROP FUNCTION runs_release_slots(bigint[])'),
    ]
