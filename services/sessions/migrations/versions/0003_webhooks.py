"""Webhooks: how far each has come, what it knows of connections, and what it could not deliver."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("silent_until", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "webhook_connections",
        sa.Column("webhook", sa.Text(collation="C"), nullable=False),
        sa.Column("connection", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("webhook", "connection"),
    )
    op.create_table(
        "webhook_writers",
        sa.Column("webhook", sa.Text(collation="C"), nullable=False),
        sa.Column("instance", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("wrote_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("webhook", "instance"),
    )
    op.create_table(
        "webhook_dead_letters",
        sa.Column("number", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("webhook", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text(collation="C"), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("put_aside_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )


def downgrade() -> None:
    op.drop_table("webhook_dead_letters")
    op.drop_table("webhook_writers")
    op.drop_table("webhook_connections")
    op.drop_table("webhooks")
