"""The library below the databases is one that loses nothing which was committed."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from admin_api.storage import open_engine
from gateway import sqlite
from gateway.metadata.database import Database, sqlite_url

LIBRARY = "SELECT sqlite_version()"


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_both_databases_go_by_a_library_without_the_race(tmp_path: Path) -> None:
    with closing(Database(sqlite_url(tmp_path / "metadata.db"), bytes(16))) as database:
        ((fetched,),) = database.fetch(LIBRARY, ())
        with database.writer() as connection:
            written = connection.exec_driver_sql(LIBRARY).scalar_one()
    admin = open_engine(f"sqlite:///{tmp_path / 'admin.db'}")
    with admin.begin() as connection:
        administered = connection.exec_driver_sql(LIBRARY).scalar_one()
    admin.dispose()
    for found in (fetched, written, administered):
        assert version(str(found)) >= sqlite.SAFE_FROM


def test_no_process_of_the_product_loads_another_library_of_it() -> None:
    parts = "gateway.cli, gateway.steward, gateway.supervise, gateway.fsal.filesystem, admin_api.serve"
    script = f"import sys, {parts}; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
