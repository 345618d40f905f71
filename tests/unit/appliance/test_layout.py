"""Which disk becomes what. The rule above all: what is not blank is never formatted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.firstboot import layout
from appliance.firstboot.disks import Contents, Disk
from appliance.firstboot.layout import LayoutError, Record, Use
from tests.unit.appliance.sysfs import BLANK, disk, labelled

FOREIGN = Contents("backup", "xfs", blank=False)


def uses(found: layout.Layout) -> dict[str, str]:
    everything = [*found.journals, *found.shelves, *([found.store] if found.store else [])]
    return {use.label: use.disk.name for use in everything}


def test_the_first_two_of_one_size_are_mirrors_and_the_best_of_the_rest_is_the_cache() -> None:
    disks = [
        disk("sdb", 128),
        disk("sdc", 64),
        disk("sdd", 64),
        disk("nvme0n1", 100, nvme=True, ephemeral=True),
    ]
    found = layout.first(disks, wants_store=False)
    assert uses(found) == {"caudal-journal0": "sdc", "caudal-journal1": "sdd", "caudal-l2-0": "nvme0n1"}
    assert found.notes == ["not used: /dev/sdb"]


def test_without_a_store_the_largest_lasting_disk_that_is_left_holds_the_files() -> None:
    disks = [
        disk("sdb", 64),
        disk("sdc", 64),
        disk("sdd", 512),
        disk("nvme0n1", 1800, nvme=True, ephemeral=True),
    ]
    assert uses(layout.first(disks, wants_store=True)) == {
        "caudal-journal0": "sdb",
        "caudal-journal1": "sdc",
        "caudal-store": "sdd",
        "caudal-l2-0": "nvme0n1",
    }


def test_one_disk_alone_is_the_journal_and_that_is_told() -> None:
    found = layout.first([disk("sdb")], wants_store=True)
    assert uses(found) == {"caudal-journal0": "sdb"}
    assert "one disk alone" in found.notes[0]


@pytest.mark.parametrize(
    ("disks", "says"),
    [
        ([], "no other disk than the system's"),
        ([disk("sdb", contents=FOREIGN)], "/dev/sdb holds xfs"),
        ([disk("nvme0n1", nvme=True, ephemeral=True)], "is lost at each stop"),
        ([disk("sdb", 0.25)], "less than 512 MiB"),
        (
            [disk("sdb"), disk("sdc", contents=labelled("caudal-l2-0"))],
            "the journal disk that belongs to it is missing",
        ),
        ([disk("sdb"), disk("sdc", contents=labelled("caudal-store"))], "is missing"),
    ],
)
def test_disks_that_do_not_do_are_told_with_their_reason(disks: list[Disk], says: str) -> None:
    with pytest.raises(LayoutError, match=says) as refused:
        layout.first(disks, wants_store=True)
    assert refused.value.hint


def test_two_disks_with_one_label_are_refused() -> None:
    twins = [disk(name, contents=labelled("caudal-journal0")) for name in ("sdb", "sdc")]
    with pytest.raises(LayoutError, match="both labelled"):
        layout.find_journals(twins)


def test_labels_count_and_names_do_not() -> None:
    disks = [
        disk("sdb", contents=labelled("caudal-l2-0")),
        disk("sdc", contents=labelled("caudal-journal1")),
        disk("sdd", contents=labelled("caudal-journal0")),
        disk("sde", contents=FOREIGN),
    ]
    journals = layout.find_journals(disks)
    found = layout.again(disks, journals, Record(2, "caudal-journal0", ""))
    assert uses(found) == {"caudal-journal0": "sdd", "caudal-journal1": "sdc", "caudal-l2-0": "sdb"}
    assert found.notes == []


def test_a_blank_disk_of_the_same_size_takes_the_place_of_a_missing_mirror() -> None:
    disks = [disk("sdb", contents=labelled("caudal-journal1")), disk("sdc", 32), disk("sdd", 64)]
    found = layout.again(disks, layout.find_journals(disks), Record(2, "caudal-journal1", ""))
    assert uses(found) == {"caudal-journal1": "sdb", "caudal-journal0": "sdd", "caudal-l2-0": "sdc"}


def test_a_missing_mirror_without_a_spare_is_told_and_files_are_served() -> None:
    disks = [disk("sdb", contents=labelled("caudal-journal0"))]
    found = layout.again(disks, layout.find_journals(disks), Record(2, "caudal-journal0", ""))
    assert uses(found) == {"caudal-journal0": "sdb"}
    assert found.missing == ["caudal-journal1"]
    assert "1 of 2 journal mirrors missing" in found.notes[0]


def test_local_nvme_that_comes_back_empty_is_the_cache_again() -> None:
    disks = [disk("sdb", contents=labelled("caudal-journal0")), disk("nvme0n1", nvme=True, ephemeral=True)]
    found = layout.again(disks, layout.find_journals(disks), Record(1, "caudal-journal0", ""))
    (shelf,) = found.shelves
    assert shelf.format


def test_every_nvme_disk_is_a_shelf_and_keeps_its_label() -> None:
    local = [disk(f"nvme{n}n1", 1800, nvme=True, ephemeral=True) for n in range(4)]
    found = layout.first([disk("sdb", 64), disk("sdc", 64), disk("sdd", 500), *local], wants_store=False)
    assert [(use.label, use.disk.name) for use in found.shelves] == [
        (f"caudal-l2-{n}", f"nvme{n}n1") for n in range(4)
    ]
    assert found.notes == ["not used: /dev/sdd"]
    # One comes back empty, another one under another name, a third not at all, and there is one more.
    disks = [
        disk("sdb", 64, labelled("caudal-journal0")),
        disk("nvme1n1", 1800, nvme=True, ephemeral=True),
        disk("nvme0n1", 1800, labelled("caudal-l2-3"), nvme=True, ephemeral=True),
        disk("nvme4n1", 1800, nvme=True, ephemeral=True),
    ]
    found = layout.again(disks, layout.find_journals(disks), Record(1, "caudal-journal0", ""))
    assert {use.label: use.disk.name for use in found.shelves} == {
        "caudal-l2-3": "nvme0n1",
        "caudal-l2-0": "nvme1n1",
        "caudal-l2-1": "nvme4n1",
    }


def test_there_are_sixteen_shelves_at_most() -> None:
    local = [disk(f"nvme{n}n1", nvme=True, ephemeral=True) for n in range(20)]
    found = layout.first([disk("sdb"), *local], wants_store=False)
    assert len(found.shelves) == 16
    assert "/dev/nvme19n1" in found.notes[-1]


def test_a_missing_directory_store_is_no_new_one() -> None:
    disks = [disk("sdb", contents=labelled("caudal-journal0")), disk("sdc", 512)]
    with pytest.raises(LayoutError, match="caudal-store"):
        layout.again(disks, layout.find_journals(disks), Record(1, "caudal-journal0", "caudal-store"))


contents = st.sampled_from(
    [
        BLANK,
        FOREIGN,
        *(
            labelled(label)
            for label in ("caudal-journal0", "caudal-journal1", "caudal-l2-0", "caudal-l2-1", "caudal-store")
        ),
    ]
)
disks_found = st.lists(
    st.builds(
        lambda number, gib, what, local: disk(
            f"sd{chr(98 + number)}", gib, what, nvme=local, ephemeral=local
        ),
        st.integers(0, 20),
        st.sampled_from([0.25, 64, 64, 128]),
        contents,
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.name,
)


@given(disks_found, st.booleans(), st.integers(1, 3), st.sampled_from(["", "caudal-store"]))
def test_whatever_is_there_only_blank_disks_are_formatted_and_no_disk_has_two_uses(
    disks: list[Disk], wants_store: bool, mirrors: int, store: str
) -> None:
    try:
        journals = layout.find_journals(disks)
        found = (
            layout.again(disks, journals, Record(mirrors, "caudal-journal0", store))
            if journals
            else layout.first(disks, wants_store=wants_store)
        )
    except LayoutError:
        return
    everything: list[Use] = [*found.journals, *found.shelves, *([found.store] if found.store else [])]
    names = [use.disk.name for use in everything]
    assert len(set(names)) == len(names)
    assert len({use.label for use in everything}) == len(everything)
    assert not {use.label for use in everything} & set(found.missing)
    for use in everything:
        assert use.disk.contents.blank or use.disk.contents.label == use.label
        if use.format and use not in found.shelves:
            assert not use.disk.ephemeral, "what must last is on a disk that lasts"


@given(st.binary(max_size=200))
def test_any_bytes_as_a_record_are_read_or_refused(data: bytes) -> None:
    try:
        layout.parse_record(data)
    except (ValueError, LayoutError):
        pass


def test_a_record_comes_back_as_written_and_a_later_format_is_refused() -> None:
    record = Record(2, "caudal-journal1", "caudal-store", 7)
    assert layout.parse_record(record.encode()) == record
    later = {**json.loads(record.encode()), "format": 2}
    with pytest.raises(LayoutError, match="later version"):
        layout.parse_record(json.dumps(later).encode())
