#!/usr/bin/env bash
# Both cables are out: the device waits, or fails at once, or fails after so many checks, as no_path_retry says; and when a
# path is back, it works again. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin "$LAB_TARGET" python3

configure() {
  printf 'defaults {\n polling_interval 1\n no_path_retry %s\n}\n' "$1" > "$MPATHD_ROOT/etc/mpathd/multipath.conf"
}
both_down() { link_down eth0; link_down eth1; }
both_up() { link_up eth0; link_up eth1; }
waiting_for() { load_at_least waiting_ms "$1"; }

start_target
configure queue
start_mpathd
make_map

story "no_path_retry queue: I/O waits for as long as it takes"
start_load --depth 4
load_mark "both down"
both_down
wait_until 10 "both paths are failed" paths_are 2 failed
wait_until 20 "I/O stands still" waiting_for 3000
check "no request has failed" load_is errors 0
load_mark "both up"
both_up
wait_until 30 "both paths are active again" paths_are 2 active
load_goes_on 100
check "nothing was lost, no request failed" stop_load

story "no_path_retry fail: I/O fails at once, and works again when a path is back"
configure fail
check "mpathctl reconfigure takes the new setting" ctl reconfigure
start_load --depth 4 --tolerate-errors
load_mark "both down"
both_down
wait_until 10 "requests fail" load_at_least errors_since_mark 20
load_mark "both up"
both_up
wait_until 30 "both paths are active again" paths_are 2 active
load_mark "after"
load_goes_on 100
check "no request fails any more" load_is errors_since_mark 0
check "what was acknowledged is there" stop_load
slowest_within "both down" 2000

story "no_path_retry 3: I/O waits for three checks, then fails"
configure 3
check "mpathctl reconfigure takes the new setting" ctl reconfigure
start_load --depth 4 --tolerate-errors
load_mark "both down"
both_down
wait_until 10 "both paths are failed" paths_are 2 failed
check "at first no request fails" load_is errors_since_mark 0
wait_until 20 "then requests fail" load_at_least errors_since_mark 20
load_mark "both up"
both_up
wait_until 30 "both paths are active again" paths_are 2 active
load_mark "after"
load_goes_on 100
check "what was acknowledged is there" stop_load
check "it waited for more than two seconds" test "$(phase_value "both down" slowest_request_ms)" -gt 2000
