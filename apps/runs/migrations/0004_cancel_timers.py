from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('runs', '0003_lanes_close_exactly')]

    operations = [
        migrations.AlterField(
            model_name='timer',
            name='kind',
            field=models.TextField(choices=[('due', 'due'), ('ttl', 'ttl'), ('cancel', 'cancel')]),
        ),
    ]
