#!/bin/sh
# SPDX-License-Identifier: MIT
# service.sh SOURCE-DIR: how exposed the heap server's unit is, by systemd's own scale, on which 10 is worst: at most 3.
set -eu
if ! command -v systemd-analyze >/dev/null; then
    echo "SKIPPED: no systemd-analyze (Debian package systemd)"
    exit 77
fi
if systemd-analyze security --help 2>&1 | grep -q -- --offline; then
    systemd-analyze security --no-pager --offline=true --threshold=30 "$1/service/cairnd.service" | tail -n 1
    systemd-analyze security --no-pager --offline=true --threshold=30 "$1/service/cairnd.service" >/dev/null
else
    echo "SKIPPED: this systemd-analyze looks at running services only"
    exit 77
fi
