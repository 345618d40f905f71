#!/bin/bash
# The first process of a client in user-mode Linux: client.sh WORK SUBNET
# Brings the network up, then runs what appears as WORK/N.sh (N from 0 on), each by itself, its output in WORK/N.out and
# last its status in WORK/N.rc. The root file system is the machine's own (hostfs, read and write); what a command
# should not leave on the machine belongs under /mnt or /run, which are the client's own.
work=$1 subnet=$2
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm /dev/pts
ln -sfn /proc/self/fd /dev/fd
mount -t tmpfs none /dev/shm
mount -t devpts none /dev/pts
for own in /run /mnt /var/lib/nfs; do mount -t tmpfs -o mode=755 none $own; done
mkdir -p /run/rpcbind /run/lock /run/sendsigs.omit.d /var/lib/nfs/sm /var/lib/nfs/sm.bak
touch /var/lib/nfs/state
ip link set lo up
ip addr add "$subnet.2/24" dev vec0
ip link set vec0 up
for module in nfs nfsv3 nfsv4; do modprobe -q -d "$work" $module; done
hostname "client-$subnet"
# NFSv3 locks: the server calls back through these two.
rpcbind -w
rpc.statd --no-notify
mkfifo /run/tick
exec 9<>/run/tick

execute() {
	(cd /mnt && exec bash "$work/$1.sh") >"$work/$1.out" 2>&1 9>&-
	echo $? >"$work/$1.rc.new"
	mv "$work/$1.rc.new" "$work/$1.rc"
}

number=0
: >"$work/up"
while :; do
	if [ -e "$work/$number.sh" ]; then
		execute "$number" &
		number=$((number + 1))
	else
		read -r -t 0.03 -u 9 # waits without starting a process
	fi
done
