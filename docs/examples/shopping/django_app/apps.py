from django.apps import AppConfig


class ShoppingConfig(AppConfig):
    name = "django_app"
    label = "shopping"
    default_auto_field = "django.db.models.AutoField"
