from datetime import timedelta

from django.db import connection, migrations, models

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
        ensure_partitions(('runs_journalentry',), first=day, days=1)


class Migration(migrations.Migration):

    dependencies = [
        ('runs', '0006_run_of_schedule'),
    ]

    operations = [
        CreatePartitionedModel(
            name='JournalEntry',
            fields=[
                ('pk', models.CompositePrimaryKey('run_id', 'seq', blank=True, editable=False, primary_key=True, serialize=False)),
                ('run_id', models.UUIDField()),
                ('seq', models.PositiveIntegerField()),
                ('position', models.TextField()),
                ('kind', models.TextField()),
                ('name', models.TextField()),
                ('after', models.PositiveIntegerField(default=0)),
                ('digest', models.TextField(blank=True, null=True)),
                ('ok', models.BooleanField(default=True)),
                ('output', models.TextField(blank=True, null=True)),
                ('output_type', models.TextField(default='application/json')),
                ('error', models.JSONField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(default=1)),
                ('started_ms', models.BigIntegerField(default=0)),
                ('took_ms', models.BigIntegerField(default=0)),
            ],
            options={
                'ordering': ('run_id', 'seq'),
            },
        ),
        migrations.AddField(
            model_name='run',
            name='suspended_attempt_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.RunPython(make_partitions, migrations.RunPython.noop),
    ]
