#!/bin/sh
# Measures this design against naive polling and prints one table, after the set-up where it is needed. Uses the TDengine at
# TAOS_HOST:TAOS_PORT where one answers, in a database of its own that it drops afterwards, else the emulator.
#
#   sh bench/run.sh [--quick] [--json FILE]     --help says more
set -eu
from=$(pwd)
CDPATH='' cd -- "$(dirname -- "$0")/.."
root=$(pwd)

sh install.sh requirements.txt
sh install.sh tests/requirements.txt
cd -- "$from" # where --json's FILE is meant to be
exec "$root/venv/bin/python" "$root/bench/measure.py" "$@"
