from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('runs', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL(
            'CREATE SEQUENCE runs_runevent_position', 'DROP SEQUENCE runs_runevent_position'
        ),
        migrations.AlterModelOptions(
            name='runevent',
            options={'ordering': ('position',)},
        ),
        migrations.AddField(
            model_name='runevent',
            name='position',
            field=models.BigIntegerField(db_default=models.Func(models.Value('runs_runevent_position'), function='nextval', output_field=models.BigIntegerField())),
        ),
    ]
