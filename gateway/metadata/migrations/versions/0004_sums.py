"""Sums over trees and owners, limits, and where files count. What the columns mean: gateway.metadata.tables.

All that is there is counted once, and every file finds its home among its names: some seconds for a million inodes.
"""

import sqlalchemy as sa
from alembic import op

from gateway.metadata.counting import fill

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SUMS = ("bytes", "space")


def _sums(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, Number, nullable=False) for name in names]


def upgrade() -> None:
    op.add_column("inode", sa.Column("links", sa.LargeBinary()))
    op.create_table(
        "tree",
        sa.Column("dir", Number, primary_key=True, autoincrement=False),
        *_sums("files", "directories", *SUMS),
    )
    op.create_table(
        "owner_usage",
        sa.Column("kind", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        *_sums("inodes", *SUMS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota",
        sa.Column("dir", Number, primary_key=True, autoincrement=False),
        *(sa.Column(name, Number) for name in ("hard_bytes", "soft_bytes", "hard_inodes", "soft_inodes")),
        *_sums("grace_s", "bytes_since_ns", "inodes_since_ns", "version"),
    )
    fill(op.get_bind())
    # Row operations of format 3 may follow from now on.
    op.execute("UPDATE meta SET value = '3' WHERE key = 'format'")


def downgrade() -> None:
    op.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    for table in ("quota", "owner_usage", "tree"):
        op.drop_table(table)
    op.execute("UPDATE inode SET parent = 0 WHERE kind <> 16384")
    op.drop_column("inode", "links")
