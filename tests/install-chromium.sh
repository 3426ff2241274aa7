#!/bin/sh
# Installs Debian's Chromium for the browser tests where that is possible; says why where it is not.
# Never fails: without a browser those tests are skipped, and pytest's summary names the reason.
if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "no chromium, and no root with apt-get to install it: browser tests will be skipped"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if apt-get update -qq >/dev/null 2>&1 &&
    timeout 300 apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null 2>&1; then
    echo "installed chromium for the browser tests"
else
    echo "chromium could not be installed: browser tests will be skipped"
fi
exit 0
