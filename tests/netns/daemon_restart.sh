#!/usr/bin/env bash
# mpathd is killed under load and started again: sessions, maps and names return by themselves and nothing acknowledged is
# missing. A second daemon on the same root is refused. Automatic logins wait for their target. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin "$LAB_TARGET" python3 verify_load

start_target
printf 'defaults {\n user_friendly_names yes\n}\n' > "$MPATHD_ROOT/etc/mpathd/multipath.conf"
start_mpathd
make_map
names() { ctl show maps raw format "%n %w"; }

story "a second daemon on the same root"
exits 1 "is refused" in_i mpathd --root "$MPATHD_ROOT"
err_is_one_line
err_has "another mpathd"
check "the first goes on" paths_are 2 active

story "kill -9 under load"
before=$(names)
start_load --depth 8 --reconnect 60
load_mark "killed"
kill_mpathd
start_mpathd
wait_until 30 "both paths are active again, without a command" paths_are 2 active
check "the map has its name: $before" test "$(names)" = "$before"
wait_until 30 "the load is connected again" load_at_least reconnects 1
load_goes_on 300
check "nothing was lost" stop_load

# What the killed one sent over eth1 is ended by a login from eth0, in the place of one there.
story "kill -9 while a cable is out"
start_load --depth 8 --reconnect 60
link_down eth1
wait_until 20 "one path is left" paths_are 1 active
load_mark "killed with a cable out"
kill_mpathd
begin=$EPOCHREALTIME
start_mpathd
wait_until 30 "the load is connected again" load_at_least reconnects 1
check "the other path has ended the session of the one that is out" grep -q "fenced by another path" "$LAB/mpathd.log"
check "nobody waited for the time of the fence" eval '! grep -q "not every session of the mpathd before this one" "$LAB/mpathd.log"'
load_goes_on 300
link_up eth1
wait_until 30 "both paths are active" paths_are 2 active
check "nothing was lost" stop_load

story "told to end, and started again: only what is automatic logs in"
check "mpathd ends when told to" stop_mpathd
exits 20 "mpathadm has nobody to ask for a login" adm -m node --loginall=all
exits 0 "the nodes are made automatic" adm -m node --op=update -n node.startup -v automatic
stop_target
begin=$EPOCHREALTIME
start_mpathd
check "it starts at once although the target is absent" eval '! passed_seconds "$begin" 5'
check "and has no session" eval '! paths_are 2 active'
start_target
wait_until 60 "the target appears and both paths come up" paths_are 2 active
wait_until 10 "the map has its name: $before" eval '[ "$(names)" = "$before" ]'
exits 0 "a short load finds nothing wrong" verify_load --quiet --seconds 1 --unix "$NBD_SOCKET"

# Nobody reaches the portal group of two of the four sessions: what the killed one sent there may be carried out until the time
# of the fence is over. (tgtd has one portal group.)
if [ "$LAB_TARGET" = mptargetd ]; then
  story "kill -9 while a portal group is out of reach"
  check "mpathd ends" stop_mpathd
  stop_target
  { printf 'portal_group 1 {\n  portal %s\n}\nportal_group 2 {\n  portal %s\n}\n' "$PORTAL0" "$PORTAL1"
    printf 'lu disk {\n  path %s\n}\ntarget %s {\n  lun 0 disk\n}\n' "$LAB/disk.img" "$IQN"; } | target_config main
  start_mptargetd main
  start_mpathd
  { discover && login_all; } > "$LAB/discovery.log" 2>&1 || true  # two of the sessions are there already
  wait_until 30 "four paths are active" paths_are 4 active
  wait_until 10 "the map is offered" nbd_socket
  start_load --depth 8 --reconnect 60
  # With its last address the device would lose its routes, too.
  in_t ip addr add 10.99.0.1/32 dev t1
  in_t ip route add "${PORTAL1%.*}.0/24" dev t1 metric 300
  in_t ip addr del "$PORTAL1/24" dev t1
  load_mark "killed with a portal group out of reach"
  kill_mpathd
  begin=$EPOCHREALTIME
  start_mpathd
  wait_until 30 "the load is connected again" load_at_least reconnects 1
  check "not before the time of the fence was over" passed_seconds "$begin" 4
  check "mpathd says why" grep -q "not every session of the mpathd before this one could be ended" "$LAB/mpathd.log"
  load_goes_on 300
  in_t ip addr add "$PORTAL1/24" dev t1
  wait_until 60 "all four paths are active" paths_are 4 active
  check "nothing was lost" stop_load
fi
