"""fsck of extended attributes: each belongs to an inode, which knows how much it has of them, and whether one is a list."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from gateway.data.problems import Problem
from gateway.metadata.acl import MODE_ACL, XATTR_ACL
from gateway.metadata.rows import DropXattr
from gateway.metadata.tables import inode, xattr


def check_xattrs(connection: Connection) -> Iterator[Problem]:
    """One pass over the names; values are not read. Memory: what is wrong."""
    lost = (
        select(xattr.c.ino, xattr.c.name)
        .outerjoin(inode, inode.c.ino == xattr.c.ino)
        .where(inode.c.ino.is_(None))
    )
    for ino, name in connection.execute(lost):
        yield Problem(
            f"extended attribute {name!r} of inode {ino}, which does not exist", (DropXattr(ino, name),)
        )
    sums = (
        select(
            xattr.c.ino,
            func.sum(func.length(xattr.c.name) + 1).label("names"),
            func.sum(func.length(xattr.c.value)).label("vals"),
        )
        .group_by(xattr.c.ino)
        .subquery()
    )
    names, values = func.coalesce(sums.c.names, 0), func.coalesce(sums.c.vals, 0)
    wrong = (
        select(inode.c.ino, names, values, inode.c.xattr_name_bytes, inode.c.xattr_value_bytes)
        .outerjoin(sums, sums.c.ino == inode.c.ino)
        .where((inode.c.xattr_name_bytes != names) | (inode.c.xattr_value_bytes != values))
    )
    for ino, *found in connection.execute(wrong):
        yield Problem(
            f"inode {ino}: its extended attributes take {found[0]} bytes of names and {found[1]} of values, "
            f"the row says {found[2]} and {found[3]}"
        )
    listed = select(xattr.c.ino).where(xattr.c.name == XATTR_ACL)
    marked = inode.c.mode.bitwise_and(MODE_ACL) != 0
    for ino, mode in connection.execute(
        select(inode.c.ino, inode.c.mode).where(marked != inode.c.ino.in_(listed)).order_by(inode.c.ino)
    ):
        yield Problem(
            f"inode {ino} has an access control list, its mode says it has none: it is not obeyed"
            if not mode & MODE_ACL
            else f"inode {ino} has no access control list, its mode says that it has one"
        )
