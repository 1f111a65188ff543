#!/bin/sh
# Puts promtool, which checks /metrics, into .tools/: from Debian's prometheus package, without installing that, because
# it would start a server.
set -eu
cd "$(dirname "$0")/.."

if [ -x .tools/promtool ] || command -v promtool >/dev/null; then
    exit 0
fi
mkdir -p .tools
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
# Without package lists, as in a fresh container, there is nothing to download from yet.
apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }
cd - >/dev/null
dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -xO ./usr/bin/promtool >.tools/promtool.part
chmod 755 .tools/promtool.part
mv .tools/promtool.part .tools/promtool
.tools/promtool --version 2>&1 | head -n 1
