"""When packs were read last and which access tier they are in. What the columns mean: gateway.metadata.tables."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pack_tier",
        sa.Column("pack", Number, primary_key=True, autoincrement=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        *(sa.Column(name, Number, nullable=False) for name in ("since_s", "read_day")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("pack_tier")
