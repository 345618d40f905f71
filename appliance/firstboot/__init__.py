"""First boot, and every boot: disks, mounts, the effective configuration, and what is missing for them."""
