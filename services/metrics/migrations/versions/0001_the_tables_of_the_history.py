"""The tables of the history."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_FIGURES = (
    "edges",
    "connections",
    "users",
    "channels",
    "subscriptions",
    "accepted",
    "messages_in",
    "messages_out",
    "publishes",
    "bytes_out",
    "cpu",
    "memory_bytes",
    "memory_limit",
    "open_fds",
    "max_fds",
    "loop_lag_s",
    "loop_lag_max_s",
)
_HIGH = ("connections", "accepted", "messages_in", "messages_out", "publishes", "bytes_out", "cpu")


def upgrade() -> None:
    op.create_table(
        "metrics_minutes",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edge", sa.Text(collation="C"), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in _FIGURES),
        sa.PrimaryKeyConstraint("minute", "edge"),
        postgresql_partition_by="RANGE (minute)",
    )
    op.create_table(
        "metrics_hours",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edge", sa.Text(collation="C"), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in _FIGURES),
        *(sa.Column(f"high_{name}", sa.Double(), nullable=False) for name in _HIGH),
        sa.PrimaryKeyConstraint("hour", "edge"),
        postgresql_partition_by="RANGE (hour)",
    )


def downgrade() -> None:
    op.drop_table("metrics_hours")
    op.drop_table("metrics_minutes")
