#!/bin/bash
# Our packages. Their dependencies are there already, or it fails: nothing is fetched.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
dpkg --install --force-confdef /tmp/caudal*.deb
rm -f /tmp/caudal*.deb /tmp/.inputs /tmp/packages.txt

# check
caudal version
for package in caudal caudal-admin caudal-appliance; do dpkg --verify "$package"; done
for unit in caudal-firstboot caudal-admin nftables chrony ssh; do systemctl is-enabled "$unit.service"; done
for unit in caudal smbd nmbd winbind nfs-ganesha; do
	state=$(systemctl is-enabled "$unit.service" || true)
	case $state in disabled | masked) ;; *) echo "$unit.service is $state" >&2; exit 1 ;; esac
done
nft --check -f /usr/lib/caudal/firewall.nft
# The SMB service needs a mount that first boot defines.
systemd-analyze verify /usr/lib/systemd/system/caudal{,-admin,-firstboot,-first-token,-mirrors,-disk,-smb-shares,-winbind}.service
/usr/lib/caudal/bin/python -c 'import gateway._core, gateway.fsal, gateway.steward, admin_api.serve, appliance.firstboot.boot'
