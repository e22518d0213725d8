#!/usr/bin/env bash
# Media that fail or hang under load, on the node that serves and on the other one, and both nodes killed at once. No
# request is answered with an error while one copy is good, every acknowledged write is read back, and after the repair
# the disks are equal. (Topology: pair_lib.sh; the faults are those of `mptargetctl drill`.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo

is_alone() { ! pair_lines "$1" | grep -qv 'ds:UpToDate/[^U]'; }
# A new process: what was drilled is gone, and a medium that failed is tried again.
mend() { node_kill "$1"; node_start "$1"; }
whole_again() {
  mend "$1"
  wait_until 90 "mended: both copies are complete" pair_is_whole
  load_goes_on 50 60
}

pair_config "disk_timeout $((2 * STRETCH))s"
story "two empty nodes and a witness become a pair"
pair_make
wait_until 60 "the first sync is done" pair_is_whole
pair_load

story "the disk of the node that serves fails"
load_mark "disk error, serving"
check "from here on each command fails" pctl a drill disk error:rate=1
wait_until 30 "b serves" serves b
load_goes_on 100 60
check "a says why" status_has a "the medium fails"
whole_again a

story "the disk of the other node fails"
load_mark "disk error, other"
check "from here on each command fails" pctl a drill disk error:rate=1
wait_until 30 "b goes on alone" is_alone b
load_goes_on 100 60
check "b serves as before" serves b
whole_again a

story "the disk of the node that serves hangs"
load_mark "disk hangs, serving"
check "from here on nothing ends" pctl b drill disk delay:all=1h
wait_until 60 "a serves" serves a
load_goes_on 100 60
check "b says why" status_has b "the medium fails: it hangs"
whole_again b

story "the disk of the other node hangs"
load_mark "disk hangs, other"
check "from here on nothing ends" pctl b drill disk delay:all=1h
wait_until 60 "a goes on alone" is_alone a
load_goes_on 100 60
check "a serves as before" serves a
whole_again b

story "both are killed at once, while writing"
load_mark "both killed"
kill -KILL "${NODE_PID[a]}" "${NODE_PID[b]}"
node_kill a
node_kill b
nodes_start b a
wait_until 90 "both copies are complete, one serves" pair_is_whole
load_goes_on 100 60

story "the result"
load_ends_well
check "the disks of a and b are equal" same_disks
for mark in "disk error, serving" "disk error, other" "disk hangs, serving" "disk hangs, other" "both killed"; do
  printf '        %-24s the load stood still for %s ms\n' "$mark" "$(phase_value "$mark" longest_stall_ms)"
done
check "mpathd ends when told to" stop_mpathd
