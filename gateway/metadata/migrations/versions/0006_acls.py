"""Access control lists: extended attributes of a reserved name, and a bit in the mode. What they mean: gateway.metadata.acl.

No table changes. The format rises so that a release which would let in whom a list keeps out refuses the database.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE meta SET value = '4' WHERE key = 'format'")


def downgrade() -> None:
    op.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
