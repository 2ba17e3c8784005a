"""Adds details of a refused client's request: transport, user agent and origin; and to the indexes by length the edge
and version of sessions, by which they are counted.

Older rows have "" even where the log has a value: the model `refusals` has a new number, so that every start asks for a
rebuild. Without older rows there is nothing to rebuild.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_COUNTED_BY = "edge, client_name, client_version, connections, connected_at, connection"
_LENGTHS = (
    ("sessions_medium", "ended_at - opened_at > '01:00:00'::interval AND ended_at - opened_at <= '1 day'::interval"),
    ("sessions_long", "ended_at - opened_at > '1 day'::interval AND ended_at - opened_at <= '8 days'::interval"),
)


def upgrade() -> None:
    op.execute(
        """ALTER TABLE refusals
        ADD COLUMN transport TEXT COLLATE "C" NOT NULL DEFAULT '',
        ADD COLUMN user_agent TEXT COLLATE "C" NOT NULL DEFAULT '',
        ADD COLUMN origin TEXT COLLATE "C" NOT NULL DEFAULT ''"""
    )
    op.execute(
        """UPDATE projections SET name = 'refusals-2'
        WHERE name = 'refusals-1' AND NOT EXISTS (SELECT FROM refusals)"""
    )
    _make_indexes(f"INCLUDE ({_COUNTED_BY})")


def downgrade() -> None:
    for name in ("transport", "user_agent", "origin"):
        op.execute(f"ALTER TABLE refusals DROP COLUMN {name}")
    op.execute("UPDATE projections SET name = 'refusals-1' WHERE name = 'refusals-2'")
    _make_indexes("")


def _make_indexes(include: str) -> None:
    for name, condition in _LENGTHS:
        op.execute(f"DROP INDEX {name}")
        op.execute(f"CREATE INDEX {name} ON sessions (opened_at, id, ended_at) {include} WHERE {condition}")
