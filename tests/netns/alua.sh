#!/usr/bin/env bash
# One disk behind two target port groups, of which one serves: the states change places again and again under a verifying
# load, with and without a gap, and once the group that serves goes silent. No error, no lost write, no long stall.
# (Topology: lib.sh. Group 1 is the portal 10.77.0.2, group 2 is 10.77.1.2; each NIC reaches both.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin mptargetd python3

SWAP_LIMIT=1000 SILENT_LIMIT=2000   # milliseconds, what the project promises
SWAPS=20

{ printf 'portal_group 1 {\n  portal %s\n}\nportal_group 2 {\n  portal %s\n}\n' "$PORTAL0" "$PORTAL1"
  printf 'lu disk {\n  path %s\n  size 256M\n  create yes\n}\n' "$LAB/disk.img"
  printf 'target %s {\n  lun 0 disk\n}\n' "$IQN"; } | target_config main
start_mptargetd main

set_state() { tctl main set alua disk "$1" "$2" > /dev/null; }
# group_is GROUP CHECKER PRIORITY: of the two paths of that group
group_is() { [ "$(ctl show paths raw format "%A %T %p %t" 2> /dev/null | grep -c "^$1 $2 $3 active")" -eq 2 ]; }

check "group 2 is put in standby" set_state 2 standby
start_mpathd
make_map 4
wait_until 10 "the paths of group 1 are ready, with priority 50" group_is 1 ready 50
wait_until 10 "those of group 2 are ghosts, with priority 1" group_is 2 ghost 1
exits 0 "the tree of the map" ctl show topology
out_has "-+- policy='service-time 0' prio=50 status=active"
out_has "-+- policy='service-time 0' prio=1 status=enabled"
out_has "active ghost running"

story "a verifying load while the groups change places $SWAPS times"
start_load --depth 8
load_goes_on 200
serving=1 other=2
for (( swap = 1; swap <= SWAPS; ++swap )); do
  gap=
  [ $((swap % 3)) -ne 0 ] || gap=" with a gap"
  load_mark "swap$gap"
  if [ -n "$gap" ]; then
    set_state "$serving" transitioning && set_state "$other" transitioning
    sleep 0.2   # this is how long the gap is, not a wait for anything
    set_state "$other" optimized && set_state "$serving" standby
  elif [ $((swap % 2)) -eq 0 ]; then
    set_state "$serving" standby && set_state "$other" optimized
  else
    set_state "$other" optimized && set_state "$serving" standby
  fi
  wait_quietly 20 group_is "$other" ready 50 || failed "swap $swap: group $other does not serve"
  wait_quietly 20 group_is "$serving" ghost 1 || failed "swap $swap: group $serving is not in standby"
  wait_quietly 20 load_at_least since_mark 100 || failed "swap $swap: no I/O"
  read -r serving other <<< "$other $serving"
done
passed "$SWAPS times; group $serving serves"

story "the portal of group $serving goes silent, and the other group takes over"
case $serving in 1) nic=t0 address=$PORTAL0 ;; 2) nic=t1 address=$PORTAL1 ;; esac
# The other portal answers over this NIC as before: with its last address a device would lose all of its routes.
in_t ip addr add 10.99.0.1/32 dev "$nic"
in_t ip route add "${address%.*}.0/24" dev "$nic" metric 300
load_mark "silent"
in_t ip addr del "$address/24" dev "$nic"
sleep 0.3   # deadtime, as it were
set_state "$other" optimized && set_state "$serving" unavailable
wait_until 20 "the paths of group $other serve" group_is "$other" ready 50
load_goes_on 500
wait_until 20 "no session is left to the silent portal" paths_are 2 failed
load_goes_on 500
check "what was stuck was repeated on the word of the group that serves" \
  grep -q "fenced how=\"port group $serving is out of service, group $other serves" "$LAB/mpathd.log"
check "and no fence had to wait" eval '! grep -q "fenced how=\"waited" "$LAB/mpathd.log"'
load_mark "speaks"
in_t ip addr add "$address/24" dev "$nic"
set_state "$serving" standby
wait_until 60 "its paths come back as ghosts" group_is "$serving" ghost 1
load_goes_on 500

story "the verdict"
check "the load ends well: nothing lost, nothing wrong" stop_load
sed 's/^/        /' "$LAB/load.log"
check "every acknowledged write was verified" test "$(load_result acknowledged)" -eq "$(load_result verified)"
check "no request was answered with an error" test "$(load_result errors)" -eq 0
for mark in "swap" "swap with a gap"; do
  stall_within "$mark" "$SWAP_LIMIT"
  slowest_within "$mark" "$SWAP_LIMIT"
done
stall_within "silent" "$SILENT_LIMIT"
slowest_within "silent" "$SILENT_LIMIT"

check "mpathd ends when told to" stop_mpathd
check "mptargetd ends when told to" stop_mptargetd main TERM
