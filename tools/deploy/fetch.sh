#!/bin/sh
# Everything that checks deploy/, into .cache/deploy; needs no root. Prometheus comes from Debian where there is none.
set -eu
cd "$(dirname "$0")/../.."
cache=.cache/deploy
mkdir -p "$cache"

"${PYTHON:-python3}" -m venv "$cache/python"
"$cache/python/bin/pip" install -q -r tools/deploy/requirements.txt

cp tools/deploy/package.json tools/deploy/package-lock.json "$cache/"
npm install --no-fund --no-audit --ignore-scripts --prefix "$cache"

if ! { command -v prometheus && command -v promtool; } >/dev/null; then
    command -v apt-get >/dev/null || { echo "install Prometheus with promtool first" >&2; exit 1; }
    cd "$cache"
    rm -f prometheus_*.deb
    apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }
    dpkg -x prometheus_*.deb prometheus
    cd - >/dev/null
fi
touch "$cache/.fetched"
