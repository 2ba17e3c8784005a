"""Who may see a list: views ask, and Fairlead asks before a subscribe."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from django_app.models import ShoppingList


def may_see(user: AbstractBaseUser | AnonymousUser, list_id: int) -> bool:
    """Members who have Django's permission to view lists. Inactive users do not have it."""
    if not user.has_perm("shopping.view_shoppinglist"):
        return False
    return ShoppingList.objects.filter(pk=list_id, members__pk=user.pk).exists()
