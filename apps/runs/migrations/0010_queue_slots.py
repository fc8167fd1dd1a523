import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

# A rate is so many starts per so many seconds. With a burst it is spread out: `rate_at` is when the
# bucket is full again (GCRA). Without one it counts in windows, and `rate_at` is the end of this one.
RATES = '''
CREATE FUNCTION runs_rate_room(
    many int, seconds float8, burst int, rate_at timestamptz, used int, moment timestamptz
) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN many IS NULL THEN 2147483647
        WHEN burst IS NULL AND rate_at > moment THEN greatest(many - used, 0)
        WHEN burst IS NULL THEN many
        WHEN rate_at > moment THEN greatest(
            floor(burst - extract(epoch FROM rate_at - moment)::numeric * many / seconds::numeric), 0
        )::int
        ELSE burst
    END
$$;
CREATE FUNCTION runs_rate_after(
    many int, seconds float8, burst int, rate_at timestamptz, used int, taken int,
    moment timestamptz, OUT rate_at timestamptz, OUT rate_used int
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT
        CASE
            WHEN many IS NULL THEN NULL
            WHEN burst IS NOT NULL THEN
                greatest($4, moment) + make_interval(secs => taken * seconds / many)
            WHEN $4 > moment THEN $4
            ELSE moment + make_interval(secs => seconds)
        END,
        CASE
            WHEN many IS NULL OR burst IS NOT NULL THEN 0
            WHEN $4 > moment THEN used + taken
            ELSE taken
        END
$$;
CREATE FUNCTION runs_rate_due(
    many int, seconds float8, burst int, rate_at timestamptz, used int, moment timestamptz
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN runs_rate_room(many, seconds, burst, rate_at, used, moment) > 0 THEN NULL
        WHEN burst IS NULL OR burst = 1 THEN rate_at
        -- rounded up: a microsecond earlier it would not be allowed
        ELSE rate_at - make_interval(secs => (burst - 1) * seconds / many) + interval '1 microsecond'
    END
$$;
'''
NO_RATES = '''
DROP FUNCTION runs_rate_due(int, float8, int, timestamptz, int, timestamptz);
DROP FUNCTION runs_rate_after(int, float8, int, timestamptz, int, int, timestamptz);
DROP FUNCTION runs_rate_room(int, float8, int, timestamptz, int, timestamptz);
'''

# Whoever writes slots or lanes waits until each lane has its queue.
ADOPT = '''
LOCK TABLE runs_lane, runs_environmentslots IN EXCLUSIVE MODE;
INSERT INTO runs_queueslots (environment_id, queue, cap, key_cap, used, is_open, is_paused, weight,
                             turn, clock, rate_used, key_weights)
SELECT l.environment_id, l.queue, NULL, max(coalesce(q.override, q.concurrency_limit)), sum(l.used),
       bool_or(l.is_open), bool_or(l.is_paused), 1, 0, 0, 0, '{}'
FROM runs_lane l
LEFT JOIN deployments_queue q ON q.environment_id = l.environment_id AND q.name = l.queue
GROUP BY l.environment_id, l.queue;
UPDATE runs_lane l SET slots_id = q.id
FROM runs_queueslots q
WHERE q.environment_id = l.environment_id AND q.queue = l.queue;
'''
HOT = '''
ALTER TABLE runs_queueslots SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
'''
_ROOM = Q(cap__isnull=True) | Q(used__lt=F('cap'))


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0007_flow_of_queues'),
        ('runs', '0009_bulk_actions'),
    ]

    operations = [
        migrations.RunSQL(RATES, NO_RATES),
        migrations.CreateModel(
            name='QueueSlots',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('queue', models.TextField()),
                ('cap', models.PositiveIntegerField(blank=True, null=True)),
                ('key_cap', models.PositiveIntegerField(blank=True, null=True)),
                ('used', models.IntegerField(default=0)),
                ('is_open', models.BooleanField(default=False)),
                ('is_paused', models.BooleanField(default=False)),
                ('weight', models.FloatField(default=1)),
                ('turn', models.FloatField(default=0)),
                ('clock', models.FloatField(default=0)),
                ('rate_limit', models.PositiveIntegerField(blank=True, null=True)),
                ('rate_seconds', models.FloatField(blank=True, null=True)),
                ('rate_burst', models.PositiveIntegerField(blank=True, null=True)),
                ('rate_at', models.DateTimeField(blank=True, null=True)),
                ('rate_used', models.PositiveIntegerField(default=0)),
                ('held_until', models.DateTimeField(blank=True, null=True)),
                ('key_rate_limit', models.PositiveIntegerField(blank=True, null=True)),
                ('key_rate_seconds', models.FloatField(blank=True, null=True)),
                ('key_rate_burst', models.PositiveIntegerField(blank=True, null=True)),
                ('key_weights', models.JSONField(blank=True, default=dict)),
                ('environment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='environments.environment')),
            ],
            options={
                'indexes': [
                    models.Index(condition=Q(is_open=True, is_paused=False, held_until__isnull=True) & _ROOM, fields=['environment', 'turn'], name='queue_with_room'),
                    models.Index(condition=Q(is_open=True, is_paused=False, held_until__isnull=False) & _ROOM, fields=['environment', 'held_until'], name='queue_held'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('environment', 'queue'), name='queue_slots_are_unique'),
                    models.CheckConstraint(condition=Q(used__gte=0), name='queue_slots_used_is_not_negative'),
                    models.CheckConstraint(condition=Q(weight__gt=0), name='queue_slots_weight_is_positive'),
                ],
            },
        ),
        migrations.RunSQL(HOT, migrations.RunSQL.noop),
        migrations.AddField('environmentslots', 'clock', models.FloatField(default=0)),
        migrations.AddField('environmentslots', 'turn', models.FloatField(default=0)),
        migrations.AddField('environmentslots', 'tag', models.FloatField(default=0)),
        migrations.AddField('environmentslots', 'weight', models.FloatField(default=1, help_text="Its share of its organization's limit.")),
        migrations.AddConstraint('environmentslots', models.CheckConstraint(condition=Q(weight__gt=0), name='environment_slots_weight_is_positive')),
        migrations.AddField('lane', 'slots', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='lanes', to='runs.queueslots')),
        migrations.AddField('lane', 'task', models.TextField(blank=True, default='')),
        migrations.AddField('lane', 'weight', models.FloatField(default=1)),
        migrations.AddField('lane', 'turn', models.FloatField(default=0)),
        migrations.AddField('lane', 'rate_at', models.DateTimeField(blank=True, null=True)),
        migrations.AddField('lane', 'rate_used', models.PositiveIntegerField(default=0)),
        migrations.AddField('lane', 'held_until', models.DateTimeField(blank=True, null=True)),
        migrations.RunSQL(ADOPT, migrations.RunSQL.noop),
    ]
