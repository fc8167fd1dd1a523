from django.db import migrations

# Volatile: inside of a statement it sees what was committed after the statement began.
EMPTY = '''
CREATE FUNCTION runs_lane_is_empty(lane bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN NOT EXISTS (
        SELECT FROM runs_readyrun r WHERE r.lane_id = lane AND r.session_id IS NULL
    );
END
$$;
'''


class Migration(migrations.Migration):

    dependencies = [('runs', '0002_event_position')]

    operations = [
        migrations.RunSQL(EMPTY, 'DROP FUNCTION runs_lane_is_empty(bigint)'),
    ]
