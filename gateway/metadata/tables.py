"""The SQL tables: a view of the journal's rows as of `checkpoint_lsn`, from which cold inodes are read.

Written by `checkpoint.apply` alone, in the steward's process; the owner of the file system only reads. Every number is
below 2^63. Names are BLOBs: any bytes, compared bytewise. Sizes and offsets are in bytes, times in nanoseconds since
1970 and may be negative.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# BigInteger is 64 bits everywhere; on SQLite only INTEGER makes a primary key the rowid itself.
_Number = BigInteger().with_variant(Integer(), "sqlite")

# One row an inode. Root is inode 1; numbers are never reused.
#
# Sentinels: root's parent is itself; links is NULL except where there are further names; rdev_* are 0 except for devices;
# target is NULL except for symbolic links.
# Invariants: nlink is the number of dirents that name the inode, for directories 2 and one for each subdirectory.
# An orphan has nlink 0, no dirent, and goes at its last close or after the grace period of a restart.
# Denormalised: parent of what is no directory is one of the directories that hold a name of it, links the others (each name
# once, gateway.metadata.links), so that sums over trees need not look for names. size of a directory is the number of its
# entries, so that rmdir and rename know an empty one, and a cache a complete one, without counting; its parent spares a
# search by inode for `..` and for rename's check of ancestors.
# xattr_name_bytes (each name and one byte more) and xattr_value_bytes are sums over the xattr table, so that an inode
# without extended attributes costs no query and a limit no sum.
inode = Table(
    "inode",
    metadata,
    Column("ino", _Number, primary_key=True, autoincrement=False),
    Column("generation", _Number, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("mode", Integer, nullable=False),
    Column("nlink", _Number, nullable=False),
    Column("uid", _Number, nullable=False),
    Column("gid", _Number, nullable=False),
    Column("rdev_major", _Number, nullable=False),
    Column("rdev_minor", _Number, nullable=False),
    Column("parent", _Number, nullable=False),
    Column("size", _Number, nullable=False),
    Column("space_used", _Number, nullable=False),
    Column("atime_ns", _Number, nullable=False),
    Column("mtime_ns", _Number, nullable=False),
    Column("ctime_ns", _Number, nullable=False),
    Column("btime_ns", _Number, nullable=False),
    Column("change", _Number, nullable=False),
    Column("target", LargeBinary),
    Column("orphan", Boolean(create_constraint=False), nullable=False),
    Column("xattr_name_bytes", _Number, nullable=False, server_default=text("0")),
    Column("xattr_value_bytes", _Number, nullable=False, server_default=text("0")),
    Column("links", LargeBinary),
    Index("inode_orphans", "ino", sqlite_where=text("orphan"), postgresql_where=text("orphan")),
)

# One row an entry of a directory; `.` and `..` have none.
#
# Invariants: a cookie is handed out once, above 2, in the order in which entries appear; an entry whose inode is
# replaced (rename over it) keeps it. So readdir in the order of cookies neither repeats nor misses what stays.
# Denormalised: kind of the inode, which never changes, so that a walk of the tree need not read inodes.
dirent = Table(
    "dirent",
    metadata,
    Column("dir", _Number, primary_key=True, autoincrement=False),
    Column("name", LargeBinary, primary_key=True),
    Column("cookie", _Number, nullable=False),
    Column("ino", _Number, nullable=False),
    Column("kind", Integer, nullable=False),
    UniqueConstraint("dir", "cookie", name="dirent_cookie"),
    sqlite_with_rowid=False,
)

# One row an extended attribute. The name is whole, with its prefix: b"user.colour".
#
# Invariants: the inode exists; values are at most 64 KiB. With rowids, so that large values lie beside the tree of keys.
xattr = Table(
    "xattr",
    metadata,
    Column("ino", _Number, primary_key=True, autoincrement=False),
    Column("name", LargeBinary, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# Where flushed bytes of files live: [file_offset, file_offset + length) of ino is [pack_offset, …) of the pack.
#
# Invariants: extents of an inode do not overlap; neighbours that continue one another in the same pack are one row;
# what no extent covers reads as zeros. Extents may end beyond the inode's size only until the next flush of it.
extent = Table(
    "extent",
    metadata,
    Column("ino", _Number, primary_key=True, autoincrement=False),
    Column("file_offset", _Number, primary_key=True, autoincrement=False),
    Column("length", _Number, nullable=False),
    Column("pack", _Number, nullable=False),
    Column("pack_offset", _Number, nullable=False),
    Index("extent_pack", "pack"),
    sqlite_with_rowid=False,
)

# One row a pack that a transaction named.
#
# Denormalised: live_bytes is the sum of length over its extents, kept by the same transaction that changes them, so
# that garbage collection need not sum the extent table.
# Sentinels: dead_since_s (seconds since 1970, by the steward's clock) and dead_lsn are set exactly while live_bytes is 0.
# From dead_lsn on nothing names the pack: a backup that restores to an earlier LSN needs it.
pack = Table(
    "pack",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("bytes", _Number, nullable=False),
    Column("live_bytes", _Number, nullable=False),
    Column("dead_since_s", _Number),
    Column("dead_lsn", _Number),
    Index("pack_dead", "dead_since_s"),
)

# One row a pack that the steward has looked at: which access tier of the store it is in (gateway.metadata.pack_tiers), since
# when (seconds since 1970, 0: since it came), and on which day (since 1970) the store was asked for some of it last.
#
# No view of the journal: the steward notes it, and a recovered database knows it as of its snapshot.
pack_tier = Table(
    "pack_tier",
    metadata,
    Column("pack", _Number, primary_key=True, autoincrement=False),
    Column("tier", Integer, nullable=False),
    Column("since_s", _Number, nullable=False),
    Column("read_day", _Number, nullable=False),
    sqlite_with_rowid=False,
)

# One row a directory that has something below it: how many files and directories, the sum of their sizes and of what they
# have allocated. Itself is not counted; a file is where its `parent` is.
#
# Denormalised: it all follows from the inode table, and is changed by the transaction that changes that.
tree = Table(
    "tree",
    metadata,
    Column("dir", _Number, primary_key=True, autoincrement=False),
    Column("files", _Number, nullable=False),
    Column("directories", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
    Column("space", _Number, nullable=False),
)

# One row a user (kind 0) or group (1) that owns something: inodes, the sum of sizes of those that are no directories, and
# of what is allocated. Denormalised like tree.
owner_usage = Table(
    "owner_usage",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("inodes", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
    Column("space", _Number, nullable=False),
    sqlite_with_rowid=False,
)

# One row a directory with limits on what is below it: allocated bytes, and inodes. NULL: no such limit.
# Sentinels: the since_ns are 0 while the soft limit is not exceeded.
quota = Table(
    "quota",
    metadata,
    Column("dir", _Number, primary_key=True, autoincrement=False),
    *(Column(name, _Number) for name in ("hard_bytes", "soft_bytes", "hard_inodes", "soft_inodes")),
    *(
        Column(name, _Number, nullable=False)
        for name in ("grace_s", "bytes_since_ns", "inodes_since_ns", "version")
    ),
)

# Facts of the whole, as decimal numbers or text:
#   checkpoint_lsn  every ROWS record up to it is in these tables, none above it (set with each batch, in its transaction)
#   fs_id           32 hexadecimal digits; a database of another file system is refused
#   format          version of the row operations that were applied
#   forked_epoch    the first epoch after this database was recovered from a backup: what the container holds of earlier
#                   ones may belong to a history that went on elsewhere; missing where it never was
#   inodes, bytes   number of inodes, sum of their space_used: what statfs says, kept so that it need not count
meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", String(255), nullable=False),
)
