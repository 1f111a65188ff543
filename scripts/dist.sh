#!/bin/sh
# Makes dist/offgrid.pyz: the package and the file that starts it, in one zip that Python runs. The run-time packages
# (requirements.txt) stay outside: llama.cpp is compiled code, which cannot be loaded out of a zip.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

rm -rf build/pyz
mkdir -p build/pyz dist
cp -R offgrid build/pyz/offgrid
cp offgrid/__main__.py build/pyz/__main__.py
find build/pyz -name __pycache__ -type d -prune -exec rm -rf {} +
"$python" -m zipapp build/pyz --python "/usr/bin/env python3" --compress --output dist/offgrid.pyz.part
mv dist/offgrid.pyz.part dist/offgrid.pyz
echo "dist/offgrid.pyz is ready: python3 dist/offgrid.pyz"
