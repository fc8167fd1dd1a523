from django.contrib.postgres.operations import AddConstraintNotValid
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("orgs", "0003_deleted_organizations"),
    ]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="weight",
            field=models.FloatField(
                db_default=1.0,
                default=1.0,
                help_text="Its share of what starts, beside other organizations.",
                validators=[MinValueValidator(0.001), MaxValueValidator(1000.0)],
            ),
        ),
        AddConstraintNotValid(
            model_name="organization",
            constraint=models.CheckConstraint(
                condition=Q(weight__gte=0.001, weight__lte=1000.0),
                name="organization_weight_is_in_bounds",
            ),
        ),
    ]
