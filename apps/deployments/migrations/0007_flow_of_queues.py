import apps.core.ids
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('deployments', '0006_checkpoints')]

    operations = [
        migrations.AddField('queue', 'overridden_by', models.CharField(blank=True, default='', max_length=255)),
        migrations.AddField('queue', 'total_limit', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField('queue', 'total_override', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField('queue', 'total_overridden_at', models.DateTimeField(blank=True, null=True)),
        migrations.AddField('queue', 'rate', models.JSONField(blank=True, null=True)),
        migrations.AddField('queue', 'key_rate', models.JSONField(blank=True, null=True)),
        migrations.AddField('queue', 'max_queued', models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField('queue', 'weight', models.FloatField(default=1)),
        migrations.AddField('queue', 'key_weights', models.JSONField(blank=True, default=dict)),
        migrations.AddConstraint('queue', models.CheckConstraint(condition=models.Q(weight__gt=0), name='queue_weight_is_positive')),
        migrations.AddField('task', 'overlap', models.CharField(default='allow', max_length=16)),
        migrations.AddField('task', 'collect', models.JSONField(blank=True, null=True)),
        migrations.CreateModel(
            name='KeyOverride',
            fields=[
                ('id', models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('key', models.CharField(max_length=255)),
                ('cap', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('queue', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='key_overrides', to='deployments.queue')),
            ],
            options={
                'indexes': [models.Index(fields=['expires_at'], name='key_override_expiring')],
                'constraints': [models.UniqueConstraint(fields=('queue', 'key'), name='key_is_overridden_once')],
            },
        ),
    ]
