"""The service over PostgreSQL: what it does over SQLite, and what it says while the database is away."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from admin_api import tables
from gateway.config_values import WrongValueError, database, without_password
from tests.support import postgres
from tests.unit.admin_api import test_alerts, test_api, test_exports, test_meter
from tests.unit.admin_api.conftest import Api


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as started:
        yield started


@pytest.fixture
def there(server: postgres.Postgres, tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path, server.url())
    yield made
    made.services.engine.dispose()


@pytest.mark.parametrize(
    "check",
    [
        test_api.test_tokens_are_shown_once_hashed_expire_and_are_revoked,
        test_api.test_creation_is_idempotent_by_key,
        test_api.test_lists_come_in_pages,
        test_exports.test_an_export_comes_changes_and_goes,
        test_meter.test_a_burst_costs_what_it_moved_and_idling_moves_nothing,
        test_meter.test_what_the_gateway_counted_while_the_service_was_away_comes_later_and_once,
        test_meter.test_seconds_become_minutes_become_hours,
        test_alerts.test_an_alert_fires_ends_and_survives_a_restart_of_the_service,
        test_alerts.test_what_nobody_takes_is_given_up_after_a_day,
    ],
)
def test_it_does_what_it_does_over_sqlite(there: Api, check: Callable[[Api], None]) -> None:
    check(there)


def test_the_schema_is_the_one_of_the_tables(there: Api) -> None:
    with there.services.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert not compare_metadata(context, tables.metadata)


def test_while_the_database_is_away_it_says_so_and_it_comes_back(
    there: Api, server: postgres.Postgres
) -> None:
    token = there.token("viewer")
    server.stop()
    try:
        answer = there.ask("GET", "alerts", token=token)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_down")
        # What only the gateway knows root still learns.
        assert there.local("GET", "journal").status_code == 200
        there.local("GET", "ping")
        there.gateway.down = True
        test_alerts.seconds(there, 130)
        there.gateway.down = False
    finally:
        server.start()
    assert there.ask("GET", "alerts", token=token).json()["items"] == []
    there.gateway.down = True
    test_alerts.seconds(there, 40)
    assert test_alerts.states(there) == [("gateway-down", True)]


def test_urls_are_checked_and_shown_without_their_password() -> None:
    url = database("postgres://me:secret@db.example/caudal")
    assert url == "postgresql://me:secret@db.example/caudal"
    assert without_password(url) == "postgresql://me:***@db.example/caudal"
    assert without_password("postgresql://me@h/d?host=/x:y@z") == "postgresql://me@h/d?host=/x:y@z"
    with pytest.raises(WrongValueError) as refused:
        database("mysql://me:secret@h/d")
    assert "secret" not in str(refused.value)
