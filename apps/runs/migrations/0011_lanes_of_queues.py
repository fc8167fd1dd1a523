import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

_ROOM = Q(cap__isnull=True) | Q(used__lt=F('cap'))


# Volatile: inside of a statement it sees what was committed after the statement began.
IDLE = '''
CREATE FUNCTION runs_queue_is_idle(identifier bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM runs_lane l WHERE l.slots_id = identifier AND l.is_open);
END
$$;
'''


class Migration(migrations.Migration):

    dependencies = [('runs', '0010_queue_slots')]

    operations = [
        migrations.RunSQL(IDLE, 'DROP FUNCTION runs_queue_is_idle(bigint)'),
        migrations.AddField('run', 'is_single', models.BooleanField(default=False)),
        migrations.AlterField('lane', 'slots', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='lanes', to='runs.queueslots')),
        migrations.RemoveIndex('lane', 'lane_with_room'),
        migrations.RemoveConstraint('lane', 'lane_is_unique'),
        migrations.RemoveField('lane', 'is_paused'),
        migrations.AddConstraint('lane', models.UniqueConstraint(fields=('slots', 'key', 'task'), name='lane_is_unique')),
        migrations.AddConstraint('lane', models.CheckConstraint(condition=Q(weight__gt=0), name='lane_weight_is_positive')),
        migrations.AddIndex('lane', models.Index(condition=Q(is_open=True, held_until__isnull=True) & _ROOM, fields=['slots', 'turn'], name='lane_with_room')),
        migrations.AddIndex('lane', models.Index(condition=Q(is_open=True, held_until__isnull=False) & _ROOM, fields=['slots', 'held_until'], name='lane_held')),
        migrations.AddIndex('lane', models.Index(condition=Q(is_open=True), fields=['slots'], name='lane_open')),
        migrations.AddIndex('lane', models.Index(condition=Q(is_open=False, used=0), fields=['served_at'], name='lane_unused')),
        migrations.AlterField('readyrun', 'lane', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='runs.lane')),
        migrations.AlterField('lease', 'lane', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='runs.lane')),
        migrations.AddIndex('readyrun', models.Index(condition=Q(session_id__isnull=False), fields=['lane'], name='ready_held_in_lane')),
    ]
