from pathlib import Path

from django.conf import settings
from django.db import migrations, models
from django.db.models.deletion import CASCADE


class Migration(migrations.Migration):
    initial = True
    dependencies = (migrations.swappable_dependency(settings.AUTH_USER_MODEL),)
    operations = (
        migrations.RunSQL(Path(settings.FAIRLEAD_OUTBOX_SQL).read_text(), migrations.RunSQL.noop),
        migrations.CreateModel(
            "ShoppingList",
            [
                ("id", models.AutoField(primary_key=True)),
                ("name", models.CharField(max_length=100)),
                ("members", models.ManyToManyField(settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            "Item",
            [
                ("id", models.AutoField(primary_key=True)),
                ("list", models.ForeignKey("shopping.ShoppingList", CASCADE, related_name="items")),
                ("text", models.CharField(max_length=200)),
                ("bought", models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            "Visit",
            [
                ("id", models.CharField(max_length=200, primary_key=True)),
                ("list_id", models.IntegerField()),
                ("user", models.ForeignKey(settings.AUTH_USER_MODEL, CASCADE)),
                ("ended_at", models.DateTimeField()),
            ],
        ),
    )
