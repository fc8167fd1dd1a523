from django.contrib.postgres.operations import AddConstraintNotValid
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0002_named_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="environment",
            name="weight",
            field=models.FloatField(
                db_default=1.0,
                default=1.0,
                help_text="Its share of what starts, beside its organization's other environments.",
                validators=[MinValueValidator(0.001), MaxValueValidator(1000.0)],
            ),
        ),
        AddConstraintNotValid(
            model_name="environment",
            constraint=models.CheckConstraint(
                condition=Q(weight__gte=0.001, weight__lte=1000.0),
                name="environment_weight_is_in_bounds",
            ),
        ),
    ]
