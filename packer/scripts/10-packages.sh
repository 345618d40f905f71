#!/bin/bash
# Debian's packages: those of packages.txt that are missing. The qemu source's base has them all and needs no network here.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# What is installed here must not be started here.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d

mapfile -t wanted < <(grep -v '^#' /tmp/packages.txt)
missing=()
for name in "${wanted[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
	apt-get update -q
	apt-get install -qy --no-install-recommends "${missing[@]}"
	apt-get -qy dist-upgrade
fi

# check
for name in "${wanted[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$name")" = installed ] || { echo "$name is not installed" >&2; exit 1; }
done
if dpkg --audit | grep .; then exit 1; fi
echo "packages: ${#wanted[@]} wanted, ${#missing[@]} installed now"
