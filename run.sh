#!/bin/sh
# Runs the live dashboard in the foreground: the set-up where needed, TDengine's emulator where no TDengine answers, the
# producer and the server. `sh run.sh --help` says how.
#
# Ctrl-C, TERM or a closed terminal stop all of it, with exit status 0. A part that dies is started again; one that dies
# three times in ten seconds ends the run with status 1, as does a dashboard's port that is taken at the start. A wrong
# option is status 2.
set -eu
# Files are named from where this was called.
for name in PERSPECTIVE_LAYOUT PERSPECTIVE_TABLES TAOS_CA; do
    file=''
    eval "file=\${$name:-}"
    # shellcheck disable=SC2154 # eval sets it
    case $file in
        '' | /*) ;;
        *) export "$name=${PWD%/}/$file" ;;
    esac
done
CDPATH='' cd -- "$(dirname -- "$0")"

EMULATOR=tdengine_emulator
EMULATOR_DATA="emulator-data" # the emulator's rows outlive its end, as TDengine's do
PRODUCER=producer.py
SERVER=perspective_server.py

# Runs Python with the arguments that follow as the leader of a process group, so that a part can be ended together with
# all that it started. Where Linux can, it also gets TERM when this script is killed outright.
LEAD_A_GROUP='
import ctypes, os, sys
os.setpgrp()
if sys.platform == "linux":
    PR_SET_PDEATHSIG, SIGTERM = 1, 15
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
'

# Prints where things are by the settings, a line each. Ends the run where one makes no sense: each part would die of it.
READ_SETTINGS='
from tdengine_perspective.addresses import address_elsewhere, local_address, local_host, static_page, static_page_needs
from tdengine_perspective.settings import SettingError, Settings
from tdengine_perspective.tdengine import TDengine
try:
    settings = Settings.from_environment()
except SettingError as error:
    raise SystemExit(f"run.sh: {error}")
tdengine = TDengine.of(settings)
print(tdengine.host, tdengine.port, tdengine.url, "by TLS" if tdengine.has_tls else "", sep="\n")
print(local_host(settings), settings.perspective_port, local_address(settings), sep="\n")
print(address_elsewhere(settings) or "", static_page_needs(settings), static_page(settings), sep="\n")
'

usage() {
    cat <<END
usage: sh run.sh [--producer | --no-producer]

Starts the producer and the dashboard's server, and TDengine's emulator where no TDengine answers on this machine.
  --no-producer   only show what others write; so it is by itself where TAOS_DATABASE or TAOS_TABLENAME is set to
                  another table than power.meters
  --producer      write also into that other table
Settings are environment variables, such as TAOS_HOST, TAOS_PORT and PERSPECTIVE_PORT; docs/settings.md lists them.
END
}

say() {
    echo "run.sh: $1"
}

# Whether something accepts connections at host $1, port $2.
answers() {
    venv/bin/python -S -c 'import socket, sys; socket.create_connection(sys.argv[1:], 1)' "$1" "$2" 2>/dev/null
}

# Passes a part's output on, and keeps it in file $1 for the case that the part dies. Whole lines, so that those of
# several parts do not mix; to the end, whatever signal comes.
pass_on() {
    trap '' HUP TERM
    : >"$1"
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line" >>"$1"
        printf '%s\n' "$line" || :
    done
}

# Starts part $1.
start() {
    part=$1
    [ -p "$state/$part.pipe" ] || mkfifo "$state/$part.pipe"
    pass_on "$state/$part.output" <"$state/$part.pipe" &
    echo $! >"$state/$part.listener"
    [ "$part" != $EMULATOR ] || set -- -m $EMULATOR --port "$taos_port" --data "$EMULATOR_DATA"
    venv/bin/python -S -c "$LEAD_A_GROUP" "$@" </dev/null >"$state/$part.pipe" 2>&1 &
    echo $! >"$state/$part.pid"
}

# Waits until the emulator answers, or does not run any more; no longer than 10 seconds, nor than until a signal comes.
wait_for_emulator() {
    tries=0
    until answers 127.0.0.1 "$taos_port" || ! runs $EMULATOR || [ -n "$stopping" ] || [ $tries -ge 120 ]; do
        sleep 0.05 || :
        tries=$((tries + 1))
    done
}

# Whether part $1 runs; sets pid.
runs() {
    read -r pid <"$state/$1.pid" && kill -0 "$pid" 2>/dev/null
}

# Ends what is left of part $1 and waits until its output is passed on.
clear_away() {
    read -r pid <"$state/$1.pid"
    kill -s KILL -- "-$pid" "$pid" 2>/dev/null || :
    read -r listener <"$state/$1.listener"
    # A part that was killed before it opened its pipe leaves the listener waiting for that.
    while kill -0 "$listener" 2>/dev/null; do
        : <>"$state/$1.pipe"
        sleep 0.02 || :
    done
}

# Starts part $1, which has died, again; ends the run if it died three times in ten seconds.
revive() {
    status=0
    wait "$pid" || status=$?
    clear_away "$1"
    now=$(date +%s)
    echo "$now" >>"$state/$1.deaths"
    deaths=$(tail -n 3 "$state/$1.deaths")
    # shellcheck disable=SC2086 # one word for each death
    set -- "$1" $deaths
    if [ $# = 4 ] && [ $((now - $2)) -le 10 ]; then
        given_up=$1
        exit 1
    fi
    say "$1 died with status $status; starting it again" >&2
    start "$1"
}

# Stops the parts given: TERM, and KILL after five seconds.
stop() {
    for part; do
        ! runs "$part" || kill -s TERM "$pid" 2>/dev/null || :
    done
    tries=0
    for part; do
        while runs "$part" && [ $tries -lt 50 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        clear_away "$part"
    done
}

# Stops everything, the emulator last: the others could only complain that it is gone.
finish() {
    set +e
    trap '' INT TERM HUP PIPE
    # shellcheck disable=SC2086 # none, one or two words
    stop $parts
    [ -z "$emulator" ] || stop $EMULATOR
    if [ -n "$given_up" ]; then
        say "$given_up died three times in ten seconds, the last time with status $status and these last lines:" >&2
        tail -n 10 "$state/$given_up.output" >&2
    fi
    rm -rf "$state"
}

# Prints what opens a browser, where someone sits at the terminal of a desktop.
find_opener() {
    if [ ! -t 2 ]; then
        :
    elif [ "$(uname)" = Darwin ]; then
        echo open
    elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        command -v xdg-open || :
    fi
}

wanted=
for argument; do
    case $argument in
        --producer) wanted="$SERVER $PRODUCER" ;;
        --no-producer) wanted=$SERVER ;;
        -h | --help) usage && exit ;;
        *)
            say "no such option: $argument (sh run.sh --help says which there are)" >&2
            exit 2
            ;;
    esac
done

export PYTHONUNBUFFERED=1

# A signal only leaves a note, so that it cannot fall between the start of a part and the note of its process id.
stopping=
trap 'stopping=yes' INT TERM HUP PIPE

sh install.sh requirements.txt
places=$(venv/bin/python -S -c "$READ_SETTINGS")
{
    read -r taos_host
    read -r taos_port
    read -r taos
    read -r taos_tls
    read -r host
    read -r port
    read -r dashboard
    read -r elsewhere
    read -r static_page_needs
    read -r static_page
} <<END
$places
END
if answers "$host" "$port"; then
    say "something answers at $dashboard already, perhaps another dashboard: set PERSPECTIVE_PORT to a free port" >&2
    exit 1
fi

emulator=
parts=
given_up=
state=$(mktemp -d)
trap finish EXIT

case $taos_tls$taos_host in
    localhost | 127.0.0.1 | ::1)
        if answers "$taos_host" "$taos_port"; then
            say "a TDengine or emulator answers on $taos: using it"
        else
            say "no TDengine on $taos: starting the emulator there (a stand-in, not TDengine)"
            emulator=$EMULATOR
            start $EMULATOR
            # The emulator listens on 127.0.0.1 alone.
            [ "$taos_host" != ::1 ] || export TAOS_HOST=127.0.0.1
            wait_for_emulator # the others could only complain that it is not there yet
        fi
        ;;
    *) say "TDengine is to be on $taos${taos_tls:+, $taos_tls}" ;;
esac
[ -z "$stopping" ] || exit 0
table=${TAOS_DATABASE:-power}.${TAOS_TABLENAME:-meters}
if [ -z "$wanted" ] && [ "$table" = power.meters ]; then
    wanted="$SERVER $PRODUCER"
elif [ -z "$wanted" ]; then
    wanted=$SERVER
    say "showing $table, and writing nothing into it (--producer does)"
fi
for part in $wanted; do
    start "$part"
    parts="$parts $part"
done
say "the dashboard is at $dashboard${elsewhere:+, on other machines at $elsewhere}"
say "or serve the page yourself: python -m http.server 8081${static_page_needs:+, with $static_page_needs}, and open $static_page"

opener=$(find_opener)
while [ -z "$stopping" ]; do
    sleep 0.3 || :
    for part in $emulator $parts; do
        [ -n "$stopping" ] || runs "$part" || revive "$part"
    done
    if [ -n "$opener" ] && answers "$host" "$port"; then
        # A browser that it starts stays when the terminal closes.
        (trap '' HUP && exec "$opener" "$dashboard") </dev/null >/dev/null 2>&1 &
        opener=
    fi
done
