#!/bin/sh
# Runs every test, three files at a time, after the set-up where it is needed: venv/, the test tools and, where it may, Chromium.
# Arguments go to pytest, as in `sh tests/run.sh -k scripts`.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

sh install.sh requirements.txt
sh install.sh tests/requirements.txt

if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Chromium for the browser tests"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq -y chromium; } >/dev/null || :
    fi
    command -v chromium >/dev/null ||
        echo "tests/run.sh: THERE IS NO CHROMIUM, so the browser tests cannot run; install it (apt install chromium)" >&2
fi

exec venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
