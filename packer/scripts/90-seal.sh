#!/bin/bash
# Takes out what belongs to this one machine, so that every copy of the image begins anew.
set -euo pipefail
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /usr/sbin/policy-rc.d /etc/cloud/cloud-init.disabled
cloud-init clean --logs 2>/dev/null || true
rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/dhcp/*.leases /var/lib/chrony/*
# systemd makes a new one where it is empty; D-Bus follows it.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
ln -s /etc/machine-id /var/lib/dbus/machine-id
journalctl --rotate --vacuum-time=1s --quiet || true
rm -rf /var/log/journal/* /run/log/journal/* /var/tmp/* /root/.bash_history
find /var/log -type f -exec truncate -s 0 {} +
# Host keys are made at the first boot also where cloud-init is not asked.
cat >/etc/systemd/system/ssh-host-keys.service <<'EOF'
[Unit]
Description=ssh host keys
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
EOF
systemctl enable --quiet ssh-host-keys.service
# Users and keys come by user data; Packer is still in, and does not come again.
rm -f /root/.ssh/authorized_keys
if [ -x /usr/sbin/waagent ] && [ -d /var/lib/waagent ] && id packer >/dev/null 2>&1; then
	waagent -force -deprovision+user
fi

# check
test ! -e /root/.ssh/authorized_keys
test ! -s /etc/machine-id
if compgen -G '/etc/ssh/ssh_host_*'; then exit 1; fi
test ! -e /usr/sbin/policy-rc.d
passwd --status root | grep -q '^root L ' # nobody gets in by a password
if dpkg --audit | grep .; then exit 1; fi
sync
fstrim / || true
echo "sealed: $(df --output=used -m / | tail -n 1) MiB used"
