"""The packs that rows name, one after the other."""

from collections.abc import Iterator

from sqlalchemy import select

from gateway.metadata.database import Database
from gateway.metadata.tables import pack

PAGE = 1000


def pack_sizes(database: Database) -> Iterator[list[tuple[int, int]]]:
    """(id, bytes) of all packs of the checkpoint, in the order of their numbers, by pages; each is a read of its own."""
    last = -1
    while True:
        statement = select(pack.c.id, pack.c.bytes).where(pack.c.id > last).order_by(pack.c.id).limit(PAGE)
        with database.reader() as connection:
            page = [(int(row[0]), int(row[1])) for row in connection.execute(statement)]
        if page:
            yield page
            last = page[-1][0]
        if len(page) < PAGE:
            return
