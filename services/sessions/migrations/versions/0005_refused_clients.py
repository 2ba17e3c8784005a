"""What is known of the request of a refused client: transport, user agent and origin.

Rows of before say "", also where the log says more: the model `refusals` has a new number, so that every start asks
for a rebuild. Without such rows there is nothing to rebuild.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


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


def downgrade() -> None:
    for name in ("transport", "user_agent", "origin"):
        op.execute(f"ALTER TABLE refusals DROP COLUMN {name}")
    op.execute("UPDATE projections SET name = 'refusals-1' WHERE name = 'refusals-2'")
