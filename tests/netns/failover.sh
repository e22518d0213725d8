#!/usr/bin/env bash
# A NIC goes away, comes back, the other goes away, the far side goes silent: no acknowledged write is lost, and the
# device stands still no longer than promised. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin "$LAB_TARGET" python3

LOCAL_LIMIT=300 SILENT_LIMIT=2000   # milliseconds, what the project promises
one_path_left() { paths_are 1 active && paths_are 1 failed; }

start_target
start_mpathd
make_map
check "a map of two paths, one per NIC" paths_are 2 active
check "each NIC carries one" eval 'nic_paths_are eth0 1 active && nic_paths_are eth1 1 active'

story "a verifying load through $(basename "$NBD_SOCKET")"
start_load --depth 8
load_goes_on 200

for nic in eth1 eth0; do
  story "$nic goes down, and comes back"
  load_mark "$nic down"
  link_down "$nic"
  wait_until 10 "the path over $nic is failed" nic_paths_are "$nic" 1 failed
  check "the other is still active" paths_are 1 active
  load_goes_on 500
  load_mark "$nic up"
  link_up "$nic"
  wait_until 30 "both paths are active again" paths_are 2 active
  load_goes_on 500
done

for nic in eth1 eth0; do
  story "the far side of $nic goes silent, and speaks again"
  load_mark "$nic silent"
  far_side_silent "$nic"
  wait_until 20 "the path over $nic is failed" nic_paths_are "$nic" 1 failed
  load_goes_on 500
  load_mark "$nic speaks"
  far_side_speaks "$nic"
  wait_until 60 "both paths are active again" paths_are 2 active
  load_goes_on 500
done

story "the verdict"
check "the load ends well: nothing lost, nothing wrong" stop_load
sed 's/^/        /' "$LAB/load.log"
check "every acknowledged write was verified" test "$(load_result acknowledged)" -eq "$(load_result verified)"
check "no request was answered with an error" test "$(load_result errors)" -eq 0
for nic in eth0 eth1; do
  stall_within "$nic down" "$LOCAL_LIMIT"
  slowest_within "$nic down" "$LOCAL_LIMIT"
  stall_within "$nic silent" "$SILENT_LIMIT"
  slowest_within "$nic silent" "$SILENT_LIMIT"
done
check "mpathd ends when told to" stop_mpathd
