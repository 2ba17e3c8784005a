"""The tables of the read model."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("session_id", sa.Text(collation="C"), nullable=False),
        sa.Column("edge", sa.Text(collation="C"), nullable=False),
        sa.Column("instance", sa.Text(collation="C"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("close_code", sa.Integer(), nullable=True),
        sa.Column("close_reason", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("connections_by_session", "connections", ["session_id"], unique=False)
    op.create_index(
        "connections_lost_by_instance",
        "connections",
        ["instance"],
        unique=False,
        postgresql_where=sa.text("close_code = 1006 AND close_reason = 'edge lost'"),
    )
    op.create_index(
        "connections_open_by_instance",
        "connections",
        ["instance"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "log_writers",
        sa.Column("instance", sa.Text(collation="C"), nullable=False),
        sa.Column("edge", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("wrote_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance"),
    )
    op.create_table(
        "projections",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("session_key", sa.Text(collation="C"), nullable=False),
        sa.Column("client_name", sa.Text(collation="C"), nullable=False),
        sa.Column("client_version", sa.Text(collation="C"), nullable=False),
        sa.Column("edge", sa.Text(collation="C"), nullable=False),
        sa.Column("instance", sa.Text(collation="C"), nullable=False),
        sa.Column("connection", sa.Text(collation="C"), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lineage", sa.Text(collation="C"), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("away_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_code", sa.Integer(), nullable=True),
        sa.Column("end_reason", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "sessions_away",
        "sessions",
        ["lineage", "away_until"],
        unique=False,
        postgresql_where=sa.text("away_until IS NOT NULL"),
    )
    op.create_index(
        "sessions_by_lineage",
        "sessions",
        ["lineage", "opened_at"],
        unique=False,
        postgresql_where=sa.text("lineage IS NOT NULL"),
    )
    op.create_index("sessions_by_time", "sessions", ["opened_at", "id"], unique=False)
    op.create_index("sessions_by_user", "sessions", ["user_id", "opened_at", "id"], unique=False)
    op.create_index(
        "sessions_open_by_edge",
        "sessions",
        ["edge", "opened_at", "id"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("connection", sa.Text(collation="C"), nullable=False),
        sa.Column("channel", sa.Text(collation="C"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recovered", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "channel"),
    )


def downgrade() -> None:
    op.drop_table("subscriptions")
    op.drop_index("sessions_open_by_edge", table_name="sessions", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_index("sessions_by_user", table_name="sessions")
    op.drop_index("sessions_by_time", table_name="sessions")
    op.drop_index("sessions_by_lineage", table_name="sessions", postgresql_where=sa.text("lineage IS NOT NULL"))
    op.drop_index("sessions_away", table_name="sessions", postgresql_where=sa.text("away_until IS NOT NULL"))
    op.drop_table("sessions")
    op.drop_table("projections")
    op.drop_table("log_writers")
    op.drop_index(
        "connections_open_by_instance", table_name="connections", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_index(
        "connections_lost_by_instance",
        table_name="connections",
        postgresql_where=sa.text("close_code = 1006 AND close_reason = 'edge lost'"),
    )
    op.drop_index("connections_by_session", table_name="connections")
    op.drop_table("connections")
