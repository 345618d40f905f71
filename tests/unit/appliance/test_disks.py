"""Which disks are seen, and as what: trees like those of Azure's machines, virtual machines and user-mode Linux."""

from pathlib import Path

import pytest

from appliance.firstboot.disks import Contents, look, scan
from tests.unit.appliance.sysfs import BLANK, GIB, Sysfs

VMBUS = "LNXSYSTM:00/VMBUS:00"
OS_CONTROLLER = f"{VMBUS}/f8b3781a-1e82-4818-a1c3-63d806ec15bb/host0/target0:0:0"
DATA_CONTROLLER = f"{VMBUS}/f8b3781b-1e82-4818-a1c3-63d806ec15bb/host1/target1:0:0"


def blank(device: str, size_bytes: int) -> Contents:
    return BLANK


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_azure_scsi_disks_come_by_number_and_those_of_the_system_not_at_all(sysfs: Sysfs) -> None:
    sysfs.add("sda", 30, place=f"{OS_CONTROLLER}/0:0:0:0", partitions=("sda1",), number="8:0")
    sysfs.add("sdb", 150, place=f"{OS_CONTROLLER}/0:0:0:1", number="8:16")
    sysfs.add("sdc", 64, place=f"{DATA_CONTROLLER}/1:0:0:10", number="8:32")
    sysfs.add("sdd", 64, place=f"{DATA_CONTROLLER}/1:0:0:0", number="8:48")
    sysfs.add("sde", 64, place=f"{DATA_CONTROLLER}/1:0:0:1", number="8:64")
    found = scan(sysfs.root, "8:1", blank)
    assert [(one.name, one.lun) for one in found] == [("sdd", 0), ("sde", 1), ("sdc", 10)]


def test_azure_nvme_disks_remote_ones_by_number_and_local_ones_as_ephemeral(sysfs: Sysfs) -> None:
    sysfs.add("nvme0n1", 30, place="pci/nvme0", model="MSFT NVMe Accelerator v1.0", nsid=1, number="259:0")
    sysfs.add("nvme0n2", 64, place="pci/nvme0", model="MSFT NVMe Accelerator v1.0", nsid=2, number="259:3")
    sysfs.add("nvme0n3", 64, place="pci/nvme0", model="MSFT NVMe Accelerator v1.0", nsid=3, number="259:4")
    sysfs.add(
        "nvme1n1", 1788, place="pci/nvme1", model="Microsoft NVMe Direct Disk v2", nsid=1, number="259:5"
    )
    found = scan(sysfs.root, "259:1", blank)
    assert [(one.name, one.lun, one.nvme, one.ephemeral) for one in found] == [
        ("nvme0n2", 0, False, False),
        ("nvme0n3", 1, False, False),
        ("nvme1n1", None, True, True),
    ]


def test_the_disk_under_the_root_file_system_is_left_out_whole_or_by_its_partition(sysfs: Sysfs) -> None:
    sysfs.add("vda", 8, number="254:0", partitions=("vda1", "vda3"))
    sysfs.add("vdb", 8, number="254:16")
    assert [one.name for one in scan(sysfs.root, "254:2", blank)] == ["vdb"]
    assert [one.name for one in scan(sysfs.root, "254:16", blank)] == ["vda"]


def test_what_is_no_disk_is_left_out(sysfs: Sysfs) -> None:
    for name in ("loop0", "ram0", "sr0", "fd0", "dm-0", "md0", "zram0", "nbd0"):
        sysfs.add(name)
    sysfs.add("sdr", removable="1")
    sysfs.add("sdo", ro="1")
    sysfs.add("sdz", 0)
    sysfs.add("ubdb", 1)
    assert [one.name for one in scan(sysfs.root, "0:1", blank)] == ["ubdb"]


def test_a_disk_with_partitions_or_in_somebodys_hands_is_not_blank_whatever_its_bytes(sysfs: Sysfs) -> None:
    sysfs.add("sdb", partitions=("sdb1",))
    sysfs.add("sdc")
    (sysfs.root / "block/sdc/holders/dm-0").mkdir()
    assert [one.contents.blank for one in scan(sysfs.root, "0:1", blank)] == [False, False]


def test_sdaa_comes_after_sdz(sysfs: Sysfs) -> None:
    for name in ("sdaa", "sdb", "sdz"):
        sysfs.add(name)
    assert [one.name for one in scan(sysfs.root, "0:1", blank)] == ["sdb", "sdz", "sdaa"]


@pytest.mark.parametrize("at", [0, 3 << 20, GIB - 1], ids=["start", "first MiBs", "last byte"])
def test_bytes_without_a_signature_are_somebodys_data(tmp_path: Path, at: int) -> None:
    file = tmp_path / "disk"
    with file.open("wb") as out:
        out.truncate(GIB)
    assert look(str(file), GIB).blank
    with file.open("r+b") as out:
        out.seek(at)
        out.write(b"\x5a")
    assert not look(str(file), GIB).blank


def test_a_file_system_is_told_with_its_label(tmp_path: Path) -> None:
    import subprocess

    file = tmp_path / "disk"
    with file.open("wb") as out:
        out.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "caudal-journal0", file], check=True)
    assert look(str(file), 64 << 20) == Contents("caudal-journal0", "ext4", blank=False)
