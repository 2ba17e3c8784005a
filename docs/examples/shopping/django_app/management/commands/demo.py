"""Makes the users and lists of the example. Alice and Bob may view lists; Carol may not, although she is a member."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.core.management.base import BaseCommand

from django_app.models import ShoppingList

PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "singer"}


class Command(BaseCommand):
    help = __doc__

    def handle(self, *arguments: Any, **options: Any) -> None:
        may_view = Permission.objects.get(codename="view_shoppinglist")
        party, _ = ShoppingList.objects.get_or_create(pk=1, name="Party")
        for name, password in PASSWORDS.items():
            user, made = User.objects.get_or_create(username=name)
            if made:
                user.set_password(password)
                user.save()
            if name != "carol":
                user.user_permissions.add(may_view)
            party.members.add(user)
