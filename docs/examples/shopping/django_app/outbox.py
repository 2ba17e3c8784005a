"""Publishes in the caller's transaction."""

from django.db import connection
from psycopg.types.json import Jsonb


def publish_with_transaction(list_id: int, change: dict[str, object]) -> None:
    """Publishes a change of the list if the transaction commits, and only then."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT fairlead_publish(%s, %s)", [f"lists:{list_id}", Jsonb(change)])
