#!/bin/sh
# Installs what some tests need beside Python, where that is possible: Debian's Chromium for the
# browser tests, redis-server for the workers' recipes, postgresql and pgbouncer for the outbox, prometheus (its
# promtool) for the alert rules. Says why where it is not. Never fails: without a program its tests are skipped, and
# pytest's summary names the reason.
packages=""
command -v chromium >/dev/null 2>&1 || packages="$packages chromium fonts-dejavu-core"
command -v redis-server >/dev/null 2>&1 || packages="$packages redis-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null 2>&1 || packages="$packages postgresql"
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || packages="$packages pgbouncer"
command -v promtool >/dev/null 2>&1 || packages="$packages prometheus"
if [ -z "$packages" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "no root with apt-get to install$packages: tests that need them will be skipped"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1  # keeps Debian from starting the server that it installs: tests start their own
apt-get update -qq >/dev/null 2>&1
for package in $packages; do
    if timeout 300 apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1; then
        echo "installed $package"
    else
        echo "$package could not be installed: tests that need it will be skipped"
    fi
done
exit 0
