"""What every root store must do; test modules subclass it for each kind of store."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.errors import Reason, StartError
from gateway.objects.container import RootChangedError, RootStore
from gateway.objects.epoch import RootRecord, check_owner, read_record, take_epoch
from gateway.state import Identity

OURS = Identity(b"O" * 16, started=True)
FRESH = Identity(b"O" * 16)
OTHER = Identity(b"X" * 16)


class RootStoreContract:
    """Needs two fixtures: `store`, empty and without a container; `twin`, another handle of the same."""

    def test_an_absent_container_reads_as_empty_and_is_made_once(self, store: RootStore) -> None:
        assert store.read_root() is None
        store.create()
        store.create()
        assert store.read_root() is None

    def test_swaps_on_condition_only(self, store: RootStore, twin: RootStore) -> None:
        store.create()
        first = store.swap_root(b"one", None)
        with pytest.raises(RootChangedError):
            twin.swap_root(b"two", None)
        root = twin.read_root()
        assert root is not None
        assert (root.data, root.etag) == (b"one", first)
        second = twin.swap_root(b"three", first)
        assert second != first
        with pytest.raises(RootChangedError):
            store.swap_root(b"four", first)
        root = store.read_root()
        assert root is not None
        assert root.data == b"three"

    def test_epochs_rise_by_one_a_start(self, store: RootStore, twin: RootStore) -> None:
        assert take_epoch(store, FRESH, "a") == 1
        assert take_epoch(twin, OURS, "b") == 2
        assert take_epoch(store, OURS, "c") == 3
        assert read_record(twin) == RootRecord(OURS.fs_id, 3, "c")
        assert check_owner(store, OURS) == RootRecord(OURS.fs_id, 3, "c")

    def test_a_reply_that_was_lost_is_no_second_epoch(self, store: RootStore) -> None:
        assert take_epoch(LosingReplies(store), FRESH, "a") == 1
        assert take_epoch(LosingReplies(store), OURS, "b") == 2
        assert read_record(store) == RootRecord(OURS.fs_id, 2, "b")

    def test_racing_starts_get_different_epochs(self, store: RootStore, twin: RootStore) -> None:
        take_epoch(store, FRESH, "first")

        def race(number: int) -> int:
            return take_epoch((store, twin)[number % 2], OURS, f"t{number}")

        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(race, range(4)))
        assert sorted(taken) == [2, 3, 4, 5]

    def test_another_file_system_is_not_taken(self, store: RootStore) -> None:
        take_epoch(store, FRESH, "a")
        before = store.read_root()
        with pytest.raises(StartError, match="holds another file system") as caught:
            take_epoch(store, OTHER, "b")
        assert caught.value.reason is Reason.STORE_FOREIGN
        with pytest.raises(StartError, match="already holds a file system") as caught:
            check_owner(store, None)
        assert caught.value.reason is Reason.STORE_FOREIGN
        assert store.read_root() == before

    def test_a_store_that_was_emptied_is_not_begun_anew(self, store: RootStore) -> None:
        with pytest.raises(StartError, match="holds no file system") as caught:
            take_epoch(store, OURS, "a")
        assert caught.value.reason is Reason.STORE_FOREIGN
        assert check_owner(store, None) is None
        assert check_owner(store, FRESH) is None

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", Reason.STORE_FOREIGN),
            (b"[]", Reason.STORE_FOREIGN),
            (b'{"format": 1}', Reason.STORE_FOREIGN),
            (b'{"format": 1, "fs_id": "zz", "epoch": 1, "token": ""}', Reason.STORE_FOREIGN),
            (b'{"format": 2, "all": "new"}', Reason.NEWER_FORMAT),
        ],
    )
    def test_a_damaged_or_newer_root_is_left_alone(
        self, store: RootStore, data: bytes, reason: Reason
    ) -> None:
        store.create()
        store.swap_root(data, None)
        for identity in (FRESH, OURS, OTHER):
            with pytest.raises(StartError) as caught:
                take_epoch(store, identity, "a")
            assert caught.value.reason is reason
        root = store.read_root()
        assert root is not None
        assert root.data == data


class LosingReplies:
    """A store whose swaps succeed and answer as if they had not, as a retry inside a client does."""

    def __init__(self, store: RootStore) -> None:
        self._store = store
        self.url = store.url

    def create(self) -> None:
        self._store.create()

    def read_root(self) -> object:
        return self._store.read_root()

    def swap_root(self, data: bytes, etag: str | None) -> str:
        self._store.swap_root(data, etag)
        raise RootChangedError

    def close(self) -> None:
        self._store.close()
