"""When a pack died, as an LSN: backups that restore to an earlier one need it. Columns: gateway.metadata.tables."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pack", sa.Column("dead_lsn", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    # Of packs that are dead already it is only known that they are by now.
    op.execute(
        "UPDATE pack SET dead_lsn = (SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'checkpoint_lsn')"
        " WHERE dead_since_s IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("pack", "dead_lsn")
