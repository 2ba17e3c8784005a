"""From when to when an edge hung for the last time, and how many times it did.

Rows from before say that no edge hung, also where the log has an `edge_found`: the model `edges` has a new number, so
that each start asks for a rebuild. What is told of the losses of an edge has a writer of its own, whose first batch is
a loss. Where no such writer has written a second one, no edge was found again, and there is nothing to rebuild.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """ALTER TABLE edges
        ADD COLUMN hung_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN found_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN times_hung BIGINT NOT NULL DEFAULT 0"""
    )
    op.execute(
        """UPDATE projections SET name = 'edges-2' WHERE name = 'edges-1'
        AND NOT EXISTS (SELECT FROM log_writers WHERE starts_with(instance, 'watch-') AND number > 1)"""
    )


def downgrade() -> None:
    for name in ("hung_at", "found_at", "times_hung"):
        op.execute(f"ALTER TABLE edges DROP COLUMN {name}")
    op.execute("UPDATE projections SET name = 'edges-1' WHERE name = 'edges-2'")
