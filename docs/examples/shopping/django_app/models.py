from django.contrib.auth.models import User
from django.db import models


class ShoppingList(models.Model):
    name = models.CharField(max_length=100)
    members = models.ManyToManyField(User)


class Item(models.Model):
    list = models.ForeignKey(ShoppingList, on_delete=models.CASCADE, related_name="items")
    text = models.CharField(max_length=200)
    bought = models.BooleanField(default=False)

    def shown(self) -> dict[str, object]:
        """The item as the page gets it."""
        return {"id": self.pk, "text": self.text, "bought": self.bought}
