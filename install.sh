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

# Keeps pip to venv/, and to what it finds for this system, whatever its settings say. Those for where to look stay.
keep_pip_here() {
    elsewhere='user target prefix root python dry-run'
    unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN
    for section in global install; do
        echo "[$section]"
        # shellcheck disable=SC2086 # one word each
        printf '%s =\n' $elsewhere
    done >venv/pip.conf # goes before all of pip's files but the one that PIP_CONFIG_FILE names
    if [ -f "${PIP_CONFIG_FILE:-}" ]; then
        grep -Ev "^($(echo "$elsewhere" | tr ' ' '|')) *[=:]" "$PIP_CONFIG_FILE" >venv/pip-more.conf || :
        export PIP_CONFIG_FILE="$PWD/venv/pip-more.conf"
    fi
}

# Says for which system there is no wheel of perspective-python, if so: its sources take long to build, and many tools.
# shellcheck disable=SC2016 # that is Python
MISSING_WHEEL='
import importlib.util, platform, sys, sysconfig
from pip._vendor.packaging.tags import sys_tags
wheels = {"manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "macosx_14_0_arm64"}
fits = any((tag.interpreter, tag.abi) == ("cp311", "abi3") and tag.platform in wheels for tag in sys_tags())
if not fits and not importlib.util.find_spec("perspective"):
    kind = platform.python_implementation() + " " + platform.python_version() + sys.abiflags
    print(kind, "on", sysconfig.get_platform(), *platform.libc_ver())
'

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
    missing=$(venv/bin/python -c "$MISSING_WHEEL" 2>/dev/null || :)
    [ -z "$missing" ] ||
        fail "perspective-python has no package for $missing; it needs CPython on Linux (x86_64 or aarch64, glibc 2.28 or newer) or on macOS 14 or newer (Apple silicon)"
    echo "Installing the packages of $requirements into venv/"
    keep_pip_here
    venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --only-binary=:all: -r "$requirements" ||
        fail "could not install the packages; see above, and run it again"
    cat requirements.txt "$requirements" >"$stamp"
    [ $# -gt 0 ] || echo "Done; now: sh run.sh" # other scripts name what they need, and go on by themselves
fi
