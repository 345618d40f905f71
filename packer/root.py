"""The root file system of a disk that packer.disk made, for machines that bring their own kernel.

python3 -m packer.root DISK.raw ROOT.ext4
"""

import argparse
import subprocess
from pathlib import Path
from typing import Final

from packer.disk import MIB, ROOT_PARTITION, SECTOR, run

# Of the root file system alone; a disk's grows with the disk at the first boot.
IMAGE_BYTES: Final = 1408 * MIB


def extract(disk: Path, root: Path) -> None:
    """The root file system of a disk that assemble made, brought to IMAGE_BYTES. Raises where it holds more than fits."""
    listed = subprocess.run(["sfdisk", "--dump", disk], check=True, capture_output=True, text=True).stdout
    rows = [line for line in listed.splitlines() if "start=" in line]
    words = rows[ROOT_PARTITION - 1].split(":", 1)[1].replace(" ", "").split(",")
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    start, size = int(fields["start"]) * SECTOR, int(fields["size"]) * SECTOR
    run(
        "dd",
        f"if={disk}",
        f"of={root}",
        "bs=1M",
        f"skip={start // MIB}",
        f"count={size // MIB}",
        "conv=sparse",
        "status=none",
    )
    # What the machine left in its journal is done first; 1: mended, as after every shutdown with a mounted root.
    checked = subprocess.run(["e2fsck", "-fy", root], check=False, stdout=subprocess.DEVNULL)
    if checked.returncode not in {0, 1}:
        raise RuntimeError(f"e2fsck of the root file system ended with {checked.returncode}")
    run("resize2fs", root, f"{IMAGE_BYTES // 1024}K")
    with root.open("r+b") as file:
        file.truncate(IMAGE_BYTES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("disk", type=Path)
    parser.add_argument("root", type=Path)
    arguments = parser.parse_args()
    extract(arguments.disk, arguments.root)


if __name__ == "__main__":
    main()
