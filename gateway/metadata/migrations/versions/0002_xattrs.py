"""Extended attributes: a table of them, and their sums in the inode. What the columns mean: gateway.metadata.tables."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SUMS = ("xattr_name_bytes", "xattr_value_bytes")


def upgrade() -> None:
    # Constant defaults: no row is rewritten, however many inodes there are.
    for name in SUMS:
        op.add_column("inode", sa.Column(name, Number, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "xattr",
        sa.Column("ino", Number, primary_key=True, autoincrement=False),
        sa.Column("name", sa.LargeBinary(), primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    # Row operations of format 2 may follow from now on.
    op.execute("UPDATE meta SET value = '2' WHERE key = 'format'")


def downgrade() -> None:
    op.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    op.drop_table("xattr")
    for name in SUMS:
        op.drop_column("inode", name)
