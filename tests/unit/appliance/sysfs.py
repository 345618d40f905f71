"""Trees that look like /sys, and disks that were looked at."""

from pathlib import Path

from appliance.firstboot.disks import Contents, Disk

GIB = 1 << 30
BLANK = Contents("", "", blank=True)


def labelled(label: str) -> Contents:
    return Contents(label, "ext4", blank=False)


def disk(name: str, gib: float = 64, contents: Contents = BLANK, **more: object) -> Disk:
    fields: dict[str, object] = {"nvme": False, "ephemeral": False, "lun": None, **more}
    return Disk(name=name, size_bytes=int(gib * GIB), contents=contents, **fields)  # type: ignore[arg-type]


class Sysfs:
    """One tree. place: where the device hangs, below devices/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "block").mkdir()

    def add(
        self,
        name: str,
        gib: float = 64,
        *,
        number: str = "8:0",
        place: str = "platform",
        model: str = "",
        partitions: tuple[str, ...] = (),
        nsid: int | None = None,
        **flags: str,
    ) -> None:
        entry = self.root / "block" / name
        device = self.root / "devices" / place / "device"
        device.mkdir(parents=True, exist_ok=True)
        (entry / "holders").mkdir(parents=True)
        (entry / "device").symlink_to(device if place == "platform" else device.parent)
        values = {"size": str(int(gib * GIB) // 512), "dev": number, "removable": "0", "ro": "0", **flags}
        for file, text in values.items():
            (entry / file).write_text(text + "\n")
        if model:
            (entry / "device/model").write_text(model + "\n")
        if nsid is not None:
            (entry / "nsid").write_text(f"{nsid}\n")
        for index, partition in enumerate(partitions, 1):
            (entry / partition).mkdir()
            (entry / partition / "partition").write_text(f"{index}\n")
            major, minor = number.split(":")
            (entry / partition / "dev").write_text(f"{major}:{int(minor) + index}\n")
