"""What every root store must do; test modules subclass it for each kind of store."""

import secrets
import time
from pathlib import Path

import pytest

from gateway.errors import Reason, StartError
from gateway.objects.container import LeaseHeldError, LeaseLostError, RootChangedError, RootStore
from gateway.objects.epoch import OwnerRecord, check_owner, read_record
from gateway.objects.ownership import Ownership
from gateway.state import Identity, StateDir

FS_ID = b"O" * 16
LEASE, ANOTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


class Place:
    """A state directory, and starts in it."""

    def __init__(
        self, root: Path, fs_id: bytes = FS_ID, *, started: bool = False, place: str = "here"
    ) -> None:
        self.state = StateDir(root)
        root.mkdir(exist_ok=True)
        self.state.write_identity(Identity(fs_id, started=started))
        self.owner = OwnerRecord(place, "host", str(root), lease_s=15)

    def take(self, store: RootStore) -> Ownership:
        return Ownership.take(self.state, store, self.owner, new_id=lambda: secrets.token_hex(16))


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

    def test_a_lease_keeps_others_from_changing_the_root(self, store: RootStore, twin: RootStore) -> None:
        store.create()
        etag = store.swap_root(b"one", None)
        root = store.read_root()
        assert root is not None
        assert not root.leased
        store.acquire_lease(LEASE, 60)
        store.acquire_lease(LEASE, 60)
        root = twin.read_root()
        assert root is not None
        assert root.leased
        with pytest.raises(LeaseHeldError):
            twin.acquire_lease(ANOTHER, 60)
        with pytest.raises(LeaseLostError):
            twin.renew_lease(ANOTHER)
        with pytest.raises(LeaseHeldError):
            twin.swap_root(b"two", etag)
        with pytest.raises(LeaseLostError):
            twin.swap_root(b"two", etag, ANOTHER)
        etag = store.swap_root(b"two", etag, LEASE)
        with pytest.raises(RootChangedError):
            store.swap_root(b"three", "0x0", LEASE)
        store.renew_lease(LEASE)
        twin.release_lease(ANOTHER)
        store.renew_lease(LEASE)
        store.release_lease(LEASE)
        store.release_lease(LEASE)
        with pytest.raises(LeaseLostError):
            store.swap_root(b"three", etag, LEASE)
        twin.acquire_lease(ANOTHER, 15)
        with pytest.raises(LeaseLostError):
            store.renew_lease(LEASE)

    def test_a_broken_lease_is_nobodys_until_its_time_is_over(
        self, store: RootStore, twin: RootStore
    ) -> None:
        store.create()
        etag = store.swap_root(b"one", None)
        store.break_lease(1)
        store.acquire_lease(LEASE, 15)
        twin.break_lease(1)
        with pytest.raises(LeaseLostError):
            store.renew_lease(LEASE)
        for lease in (LEASE, ANOTHER):
            with pytest.raises(LeaseHeldError):
                twin.acquire_lease(lease, 15)
        root = twin.read_root()
        assert root is not None
        assert root.leased
        time.sleep(1.2)
        twin.acquire_lease(ANOTHER, 15)
        twin.swap_root(b"two", etag, ANOTHER)

    def test_epochs_rise_by_one_a_start(self, store: RootStore, twin: RootStore, tmp_path: Path) -> None:
        place = Place(tmp_path)
        assert [place.take(handle).epoch for handle in (store, twin, store)] == [1, 2, 3]
        record = read_record(twin)
        assert record is not None
        assert (record.fs_id, record.epoch, record.owner) == (FS_ID, 3, place.owner)
        assert check_owner(store, place.state.read_identity(), place.state.read_own_facts(), "here") == record

    def test_a_reply_that_was_lost_is_no_second_epoch(self, store: RootStore, tmp_path: Path) -> None:
        place = Place(tmp_path)
        assert place.take(LosingReplies(store)).epoch == 1
        ownership = place.take(LosingReplies(store))
        assert ownership.epoch == 2
        ownership.update(membership={"mirrors": [1, 2]})
        record = read_record(store)
        assert record is not None
        assert (record.epoch, record.membership) == (2, {"mirrors": [1, 2]})
        ownership.end()
        ownership = place.take(store)
        assert (ownership.epoch, ownership.membership) == (3, {"mirrors": [1, 2]})

    def test_another_file_system_is_not_taken(self, store: RootStore, tmp_path: Path) -> None:
        Place(tmp_path / "a").take(store).end()
        before = store.read_root()
        other = Place(tmp_path / "b", b"X" * 16)
        with pytest.raises(StartError, match="holds another file system") as caught:
            other.take(store)
        assert caught.value.reason is Reason.STORE_FOREIGN
        with pytest.raises(
            StartError, match=r"already holds a file system.*caudal recover|already holds"
        ) as caught:
            check_owner(store, None)
        assert caught.value.reason is Reason.STORE_FOREIGN
        assert "caudal recover --store" in caught.value.hint
        assert store.read_root() == before

    def test_a_store_that_was_emptied_is_not_begun_anew(self, store: RootStore, tmp_path: Path) -> None:
        with pytest.raises(StartError, match="holds no file system") as caught:
            Place(tmp_path, started=True).take(store)
        assert caught.value.reason is Reason.STORE_FOREIGN
        assert check_owner(store, None) is None
        assert check_owner(store, Identity(FS_ID)) is None

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", Reason.STORE_FOREIGN),
            (b"[]", Reason.STORE_FOREIGN),
            (b'{"format": 1}', Reason.STORE_FOREIGN),
            (b'{"format": 1, "fs_id": "zz", "epoch": 1, "token": ""}', Reason.STORE_FOREIGN),
            (b'{"format": 1, "fs_id": "00", "epoch": 1, "token": "", "owner": 7}', Reason.STORE_FOREIGN),
            (b'{"format": 2, "all": "new"}', Reason.NEWER_FORMAT),
        ],
    )
    def test_a_damaged_or_newer_root_is_left_alone(
        self, store: RootStore, data: bytes, reason: Reason, tmp_path: Path
    ) -> None:
        store.create()
        store.swap_root(data, None)
        for number, started in enumerate((False, True)):
            with pytest.raises(StartError) as caught:
                Place(tmp_path / str(number), started=started).take(store)
            assert caught.value.reason is reason
        root = store.read_root()
        assert root is not None
        assert root.data == data


class LosingReplies:
    """A store whose swaps succeed and answer as if they had not, as a retry inside a client does."""

    def __init__(self, store: RootStore) -> None:
        self._store = store
        self.url = store.url
        self.create, self.read_root, self.close = store.create, store.read_root, store.close
        self.acquire_lease, self.renew_lease = store.acquire_lease, store.renew_lease
        self.release_lease, self.break_lease = store.release_lease, store.break_lease

    def swap_root(self, data: bytes, etag: str | None, lease_id: str | None = None) -> str:
        self._store.swap_root(data, etag, lease_id)
        raise RootChangedError
