#!/bin/sh
# Makes venv/ and installs the pinned packages into it; does nothing where just these are in already.
#
# `sh install.sh --help` says how. A venv/ that works is never made anew, also where PYTHON names another version.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")"

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

usage() {
    cat <<END
usage: sh install.sh [REQUIREMENTS]

Makes venv/ and installs into it the packages of REQUIREMENTS, a file of this folder (requirements.txt).
PYTHON names the interpreter to make venv/ with; otherwise the first one on the PATH that is 3.11 or newer is taken.
END
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Prints the interpreter that is to make venv/.
find_python() {
    for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if new_enough "$python"; then
            echo "$python"
            return
        elif [ "$python" = "${PYTHON:-}" ]; then
            fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        fi
    done
    fail "needs Python 3.11 or newer, and found none; install one, or name it: PYTHON=/path/to/python3 sh install.sh"
}

make_venv() {
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module; install it (Debian, Ubuntu: apt install python3-venv)"
    echo "Making venv/ with $("$python" --version)"
    rm -rf venv
    "$python" -m venv venv || fail "could not make venv/"
}

case ${1:-} in
    -h | --help) usage && exit ;;
    -*)
        echo "install.sh: no such option: $1 (sh install.sh --help says how)" >&2
        exit 2
        ;;
esac
requirements=${1:-requirements.txt}
[ -f "$requirements" ] || fail "there is no $requirements"
# What was installed: a copy, written only after all of it is in. Other requirements build on requirements.txt.
stamp=venv/$(echo "$requirements" | tr / -).installed

# A venv whose Python is gone or was replaced by another version cannot import its own pip.
if ! { new_enough venv/bin/python && venv/bin/python -c 'import pip' 2>/dev/null; }; then
    make_venv
elif [ -n "${PYTHON:-}" ] && [ "$("$PYTHON" --version 2>&1)" != "$(venv/bin/python --version)" ]; then
    echo "install.sh: PYTHON=$PYTHON is not used, as venv/ has $(venv/bin/python --version); remove venv/ to change it" >&2
fi
if ! cat requirements.txt "$requirements" | cmp -s - "$stamp"; then
    echo "Installing the packages of $requirements into venv/"
    venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check -r "$requirements" ||
        fail "could not install the packages; see above, and run it again"
    cat requirements.txt "$requirements" >"$stamp"
    [ $# -gt 0 ] || echo "Done; now: sh run.sh" # other scripts name what they need, and go on by themselves
fi
