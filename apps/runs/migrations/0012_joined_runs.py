from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('runs', '0011_lanes_of_queues')]

    operations = [
        migrations.AddField('run', 'is_shared', models.BooleanField(default=False)),
        migrations.AlterField(
            'idempotencykey',
            'kind',
            models.TextField(choices=[('user', 'user'), ('batch', 'batch'), ('request', 'request'), ('token', 'token'), ('waitpoint', 'waitpoint'), ('debounce', 'debounce'), ('overlap', 'overlap'), ('collect', 'collect')]),
        ),
    ]
