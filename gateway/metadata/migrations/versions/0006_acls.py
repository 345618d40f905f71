"""Access control lists: extended attributes of a reserved name, and a bit in the mode. What they mean: gateway.metadata.acl.

No table changes. The format rises so that a release which would let in whom a list keeps out refuses the database.
"""

import sqlalchemy as sa
from alembic import op

from gateway.metadata.acl import MODE_ACL

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE meta SET value = '4' WHERE key = 'format'")


def downgrade() -> None:
    """Raises RuntimeError where there are lists: the release before would let in whom they keep out."""
    inodes = sa.table("inode", sa.column("mode", sa.Integer))
    marked = sa.select(sa.func.count()).select_from(inodes).where(inodes.c.mode.op("&")(MODE_ACL) != 0)
    listed = op.get_bind().execute(marked).scalar()
    if listed:
        raise RuntimeError(
            f"{listed} inodes have access control lists, which the release before does not know"
        )
    op.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
