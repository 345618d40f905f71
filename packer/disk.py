"""A bootable disk around a root file system, without mounting anything.

    python3 -m packer.disk ROOT.ext4 DISK.raw     GPT; GRUB for BIOS and for UEFI

GRUB finds the root file system by its label, wherever the disk is.
"""

import argparse
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SECTOR: Final = 512
MIB: Final = 1 << 20
ROOT_LABEL: Final = "caudal-root"
BIOS_START: Final = MIB
ESP_START: Final = 2 * MIB
ESP_BYTES: Final = 33 * MIB
ROOT_START: Final = 36 * MIB
ROOT_PARTITION: Final = 3
GRUB: Final = Path("/usr/lib/grub")
# Where GRUB's first two stages keep the address of the next: boot.img's first sector of core.img, and in the first sector of
# core.img the place of the rest of it.
_BOOT_NEXT: Final = 0x5C
_CORE_LIST: Final = 0x1F4
_MODULES: Final = (
    *("part_gpt", "part_msdos", "ext2", "fat", "search", "search_label", "search_fs_uuid", "gzio"),
    *("normal", "configfile", "linux", "serial", "terminal", "echo", "test", "all_video", "minicmd"),
)
_EARLY: Final = f"search --no-floppy --label {ROOT_LABEL} --set=root\nset prefix=($root)/boot/grub\n"


def run(*command: str | Path, text: str | None = None) -> None:
    subprocess.run(
        [str(word) for word in command], check=True, input=text, text=True, stdout=subprocess.DEVNULL
    )


def grub_image(platform: str, output: Path, *modules: str) -> None:
    """GRUB's second stage, which knows how to find its configuration."""
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as early:
        early.write(_EARLY)
        early.flush()
        prefix = ("-p", "/boot/grub", "-c", early.name)
        run("grub-mkimage", "-O", platform, "-d", GRUB / platform, "-o", output, *prefix, *_MODULES, *modules)


def esp(output: Path, loader: Path) -> None:
    """The partition that UEFI starts from: FAT, with one file at the place where firmware looks first."""
    with output.open("wb") as file:
        file.truncate(ESP_BYTES)
    run("mkfs.fat", "-n", "ESP", output)
    run("mmd", "-i", output, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", output, loader, "::/EFI/BOOT/BOOTX64.EFI")


def bios_stages(core: bytes) -> tuple[bytes, bytes]:
    """The boot sector's code, and core.img padded to sectors, each told where the next lies."""
    boot = bytearray((GRUB / "i386-pc/boot.img").read_bytes()[:440])
    first = BIOS_START // SECTOR
    struct.pack_into("<Q", boot, _BOOT_NEXT, first)
    sectors = -(-len(core) // SECTOR)
    if sectors * SECTOR > ESP_START - BIOS_START:
        raise ValueError(f"GRUB's core of {len(core)} bytes does not fit into its partition")
    padded = bytearray(core.ljust(sectors * SECTOR, b"\0"))
    struct.pack_into("<QHH", padded, _CORE_LIST, first + 1, sectors - 1, 0x820)
    return bytes(boot), bytes(padded)


def copy_into(disk: Path, source: Path, offset: int) -> None:
    run(
        "dd",
        f"if={source}",
        f"of={disk}",
        "bs=1M",
        f"seek={offset // MIB}",
        "conv=notrunc,sparse",
        "status=none",
    )


def assemble(root: Path, disk: Path) -> None:
    """Raises subprocess.CalledProcessError where a tool fails."""
    root_bytes = -(-root.stat().st_size // MIB) * MIB
    with disk.open("wb") as file:
        file.truncate(ROOT_START + root_bytes + MIB)
    table = "label: gpt\n" + "".join(
        f"start={start // SECTOR}, size={size // SECTOR}, type={kind}, name={name}\n"
        for start, size, kind, name in (
            (BIOS_START, ESP_START - BIOS_START, "21686148-6449-6E6F-744E-656564454649", "bios"),
            (ESP_START, ESP_BYTES, "U", "esp"),
            (ROOT_START, root_bytes, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "root"),
        )
    )
    run("sfdisk", "--quiet", disk, text=table)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        grub_image("i386-pc", work / "core.img", "biosdisk")
        grub_image("x86_64-efi", work / "grub.efi", "efi_gop", "efi_uga")
        esp(work / "esp", work / "grub.efi")
        copy_into(disk, work / "esp", ESP_START)
        boot, core = bios_stages((work / "core.img").read_bytes())
    with disk.open("r+b") as file:
        file.write(boot)
        file.seek(BIOS_START)
        file.write(core)
    copy_into(disk, root, ROOT_START)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    for tool in ("sfdisk", "mkfs.fat", "mcopy", "grub-mkimage"):
        if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            parser.error(f"{tool} is missing: tools/setup image installs it")
    assemble(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
