"""Publishes in the transaction of whoever calls."""

from django.db import connection
from psycopg.types.json import Jsonb

from django_app.models import Item


def publish_with_transaction(item: Item) -> None:
    """Publishes the item if the transaction commits, and only then."""
    with connection.cursor() as cursor:
        data = Jsonb({"item": item.shown()})
        cursor.execute("SELECT fairlead_publish(%s, %s)", [f"lists:{item.list_id}", data])
