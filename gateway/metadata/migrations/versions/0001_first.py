"""The first schema: inodes, directory entries, extents, packs and facts. What the columns mean: gateway.metadata.tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "inode",
        sa.Column("ino", Number, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.Integer() if name in ("kind", "mode") else Number, nullable=False)
            for name in (
                *("generation", "kind", "mode", "nlink", "uid", "gid", "rdev_major", "rdev_minor", "parent"),
                *("size", "space_used", "atime_ns", "mtime_ns", "ctime_ns", "btime_ns", "change"),
            )
        ),
        sa.Column("target", sa.LargeBinary()),
        sa.Column("orphan", sa.Boolean(create_constraint=False), nullable=False),
    )
    op.create_index(
        "inode_orphans", "inode", ["ino"], sqlite_where=sa.text("orphan"), postgresql_where=sa.text("orphan")
    )
    op.create_table(
        "dirent",
        sa.Column("dir", Number, primary_key=True, autoincrement=False),
        sa.Column("name", sa.LargeBinary(), primary_key=True),
        sa.Column("cookie", Number, nullable=False),
        sa.Column("ino", Number, nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.UniqueConstraint("dir", "cookie", name="dirent_cookie"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "extent",
        sa.Column("ino", Number, primary_key=True, autoincrement=False),
        sa.Column("file_offset", Number, primary_key=True, autoincrement=False),
        sa.Column("length", Number, nullable=False),
        sa.Column("pack", Number, nullable=False),
        sa.Column("pack_offset", Number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("extent_pack", "extent", ["pack"])
    op.create_table(
        "pack",
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("bytes", Number, nullable=False),
        sa.Column("live_bytes", Number, nullable=False),
        sa.Column("dead_since_s", Number),
    )
    op.create_index("pack_dead", "pack", ["dead_since_s"])
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(255), nullable=False),
    )


def downgrade() -> None:
    for table in ("meta", "pack", "extent", "dirent", "inode"):
        op.drop_table(table)
