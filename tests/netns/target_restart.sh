#!/usr/bin/env bash
# The target dies under load and comes back: with the same disk the work goes on; with another disk behind the same name and
# address the path leaves the map, loudly, and not one byte goes to the wrong disk. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin "$LAB_TARGET" python3

start_target
printf 'defaults {\n polling_interval 1\n no_path_retry queue\n}\n' > "$MPATHD_ROOT/etc/mpathd/multipath.conf"
start_mpathd
make_map
OLD_MAP=$(basename "$NBD_SOCKET" .sock)
start_load --depth 4

story "the same target is back"
load_mark "killed"
stop_target
wait_until 20 "both paths are failed" paths_are 2 failed
check "no request has failed" load_is errors 0
load_mark "restarted"
start_target
wait_until 60 "both paths are active again" paths_are 2 active
load_goes_on 200

story "another disk is there under the same name"
load_mark "killed again"
stop_target
wait_until 20 "both paths are failed" paths_are 2 failed
start_other_target
wait_until 60 "the log says so, as an error" grep -qE 'another logical unit' "$LAB/mpathd.log"
wait_until 20 "no active path is left in the old map" eval "! ctl show paths raw format '%m %t' | grep -q '^$OLD_MAP active'"
check "no request was answered, none failed" eval 'load_is errors 0'
check "the other disk was not touched" cmp -n 268435456 "$LAB/other.img" /dev/zero

story "the right disk is back"
load_mark "right again"
stop_other_target
start_target
load_goes_on 200 90
check "nothing was lost, no request failed" stop_load
check "the other disk was never written" cmp -n 268435456 "$LAB/other.img" /dev/zero
