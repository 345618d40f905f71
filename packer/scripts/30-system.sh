#!/bin/bash
# What no package of ours may set: other packages' own files.
set -euo pipefail
# Azure's agent leaves disks to first boot, and the rest to cloud-init.
if [ -f /etc/waagent.conf ]; then
	sed -i -e 's/^ResourceDisk.Format=.*/ResourceDisk.Format=n/' -e 's/^ResourceDisk.EnableSwap=.*/ResourceDisk.EnableSwap=n/' \
		-e 's/^Provisioning.Agent=.*/Provisioning.Agent=cloud-init/' /etc/waagent.conf
	# Elsewhere there is nobody whom it could serve.
	mkdir -p /etc/systemd/system/walinuxagent.service.d
	printf '[Unit]\nConditionPathExists=/sys/bus/vmbus\n' >/etc/systemd/system/walinuxagent.service.d/azure.conf
	systemctl enable --quiet walinuxagent.service
fi
# cloud-init: the sources that images like this one meet, so that it need not look for all the others; no disks.
cat >/etc/cloud/cloud.cfg.d/90-caudal.cfg <<'EOF'
datasource_list: [ NoCloud, Azure, None ]
disable_ec2_metadata: true
# The data disks are first boot's: nothing is formatted or mounted here.
fs_setup: []
disk_setup: {}
mounts: []
EOF
# Sleeping is for laptops.
systemctl mask --quiet sleep.target suspend.target hibernate.target hybrid-sleep.target
# Time zone and language of servers.
ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
echo 'LANG=C.UTF-8' >/etc/default/locale

# check
sshd -t
sysctl --dry-run --system >/dev/null
logrotate --debug /etc/logrotate.d/caudal >/dev/null 2>&1
unattended-upgrade --help >/dev/null
apt-config dump Unattended-Upgrade::Origins-Pattern | grep -q Debian-Security
test "$(systemctl is-enabled suspend.target || true)" = masked
