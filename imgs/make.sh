#!/bin/sh
# Makes the pictures of the documents from the running program, after the set-up where it is needed. Uses ports that are free,
# and an emulator, a producer and a server of its own, which it ends. Needs Chromium; takes three minutes where the machine is quiet.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

sh install.sh requirements.txt
sh install.sh tests/requirements.txt
sh install.sh imgs/requirements.txt

venv/bin/python imgs/architecture.py
exec venv/bin/python imgs/dashboard.py
