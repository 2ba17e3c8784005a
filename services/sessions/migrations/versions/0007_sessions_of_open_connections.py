"""Opens sessions again that had ended although one of their connections is open.

An edge that had counted as lost was found, so that its connections were open again, but their sessions had gone on with
other connections, and ended with those. From now on a session is open as long as any of its connections. The model
`sessions` keeps its number: only a session that has ended since may differ from one that is folded now, and a rebuild
would lose those that are older than the log.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """UPDATE sessions s SET connection = c.id, edge = c.edge, instance = c.instance,
            client_version = c.client_version, address = c.address, connected_at = c.opened_at,
            ended_at = NULL, away_until = NULL, end_code = NULL, end_reason = '', end_by = ''
        FROM (SELECT DISTINCT ON (session_id) * FROM connections WHERE closed_at IS NULL
            ORDER BY session_id, opened_at DESC, id DESC) c
        WHERE s.id = c.session_id AND s.ended_at IS NOT NULL"""
    )
    op.execute("UPDATE projections SET generation = generation + 1 WHERE name = 'sessions-1'")


def downgrade() -> None:
    pass
