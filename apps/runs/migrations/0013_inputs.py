from datetime import timedelta

from django.db import connection, migrations, models
from django.db.models import Q

from apps.core.clock import now
from apps.core.partitions import CreatePartitionedModel, ensure_partitions


def make_partitions(apps, schema_editor):
    """For the days to come, and for those whose runs may still be going."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(relname, 8)::date FROM pg_class WHERE relname ~ '^runs_run_p[0-9]{8}$'"
        )
        days = {day for (day,) in cursor.fetchall()}
    days |= {now().date() + timedelta(days=offset) for offset in range(-1, 8)}
    for day in sorted(days):
        ensure_partitions(('runs_input',), first=day, days=1)


class Migration(migrations.Migration):

    dependencies = [('runs', '0012_joined_runs')]

    operations = [
        CreatePartitionedModel(
            name='Input',
            fields=[
                ('pk', models.CompositePrimaryKey('run_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('run_id', models.UUIDField()),
                ('number', models.PositiveIntegerField()),
                ('key', models.TextField()),
                ('seq', models.PositiveIntegerField()),
                ('part', models.TextField(blank=True, null=True)),
                ('data', models.TextField(blank=True, null=True)),
                ('data_type', models.TextField(default='application/json')),
                ('total_bytes', models.BigIntegerField()),
                ('sent_at', models.DateTimeField()),
            ],
            options={
                'ordering': ('run_id', 'number'),
            },
        ),
        migrations.AddConstraint('input', models.UniqueConstraint(fields=('run_id', 'key', 'seq'), name='input_is_unique')),
        migrations.AddConstraint('input', models.UniqueConstraint(condition=Q(part__isnull=False), fields=('run_id', 'key', 'part'), name='input_part_is_unique')),
        migrations.AddField('waitpoint', 'key', models.TextField(blank=True, null=True)),
        migrations.AddField('waitpoint', 'seq', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddIndex('waitpoint', models.Index(condition=Q(kind='input', completed_at__isnull=True), fields=['run_id', 'key', 'seq'], name='waitpoint_of_input')),
        migrations.AddConstraint('waitpoint', models.CheckConstraint(condition=~Q(kind='input') | Q(run_id__isnull=False, key__isnull=False, seq__isnull=False), name='waitpoint_of_input_names_an_item')),
        migrations.RunPython(make_partitions, migrations.RunPython.noop),
    ]
