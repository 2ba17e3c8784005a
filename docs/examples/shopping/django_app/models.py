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
        """The item in the form for the page."""
        return {"id": self.pk, "text": self.text, "bought": self.bought}


class Visit(models.Model):
    """A visit that has ended, as a webhook reported it. `id` is the id of the event, which may come again."""

    id = models.CharField(max_length=200, primary_key=True)
    list_id = models.IntegerField()
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    ended_at = models.DateTimeField()

    def shown(self) -> dict[str, object]:
        return {"name": self.user.get_username().title(), "at": self.ended_at.timestamp()}
