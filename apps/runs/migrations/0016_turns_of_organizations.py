from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0015_batch_items_without_constraint"),
        ("orgs", "0004_weight"),
        ("environments", "0003_weight"),
    ]

    operations = [
        migrations.AddField(
            model_name="environmentslots",
            name="organization_tag",
            field=models.FloatField(db_default=0, default=0),
        ),
        # The weight is the environment's own now. Servers of the release before still write this
        # column, so it stays in the table for one release, and fills itself.
        migrations.AlterField(
            model_name="environmentslots",
            name="weight",
            field=models.FloatField(db_default=1, default=1),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(
                    model_name="environmentslots", name="environment_slots_weight_is_positive"
                ),
                migrations.RemoveField(model_name="environmentslots", name="weight"),
            ],
        ),
    ]
