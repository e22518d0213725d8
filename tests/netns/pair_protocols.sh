#!/usr/bin/env bash
# Protocols B and A. With B the node that serves is killed, and so is the other one: no acknowledged write is lost. With A
# the way between the nodes falls silent, and then the node that serves loses power: what is lost is no more than the
# window, and nothing that was flushed; the node that comes back is made equal to the one that took over. The nodes are
# told one after the other. (Topology: pair_lib.sh.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo

WINDOW_KIB=1024
# There has to be time for something between a way that falls silent and the word of the others that a node is out.
STRETCH=$((STRETCH > 4 ? STRETCH : 4))
# tell NODE A|B|C: read at its next start
tell() { sed -i "s/^  protocol .*/  protocol $2/" "$LAB/$1/etc/mptarget/mptarget.conf"; }
# in_force LETTER: both nodes show it, of both units
in_force() {
  local node
  for node in a b; do
    [ "$(pair_lines "$node" | grep -c "ds:UpToDate/UpToDate $1 r")" -eq 2 ] || return
  done
}
is_alone() { ! pair_lines "$1" | grep -qv 'ds:UpToDate/[^U]'; }
restarted() {
  node_term "$1"
  nodes_start "$1"
  wait_until 90 "$1 is back, and both copies are complete" pair_is_whole
}
# What of the load was answered and is not there: KiB.
lost_kib() {
  python3 -c '
import json, sys
faults = json.load(open(sys.argv[1]))["faults"]
assert all(fault["kind"] in ("lost", "stale") for fault in faults), faults
print(4 * len(faults))' "$LAB/load.json"
}
# The way between the nodes is silent, and before they notice a is gone.
fall_silent_and_lose_a() {
  parted a b rep0 rep1
  sleep "${STRETCH}e-1"
  power_off a
  cuts_mend
}

pair_config "protocol B" "send_window ${WINDOW_KIB}k"
tell b C
story "one node is told B, the other one C"
pair_make
wait_until 60 "both copies are complete" pair_is_whole
check "the stricter is in force on both" in_force C
check "a says why" status_has a "protocol B is said here, C (or an older version) there: the stricter counts"
tell b B
restarted b
check "told one after the other, B is in force" in_force B
check "what-if says what B means" eval 'pctl a what-if node-a-dies | grep -q "on node b or in its memory"'

story "B: the node that serves is killed"
pair_load 2000
load_mark "B: killed, serving"
node_kill a
wait_until 30 "b serves" serves b
load_goes_on 100 60
nodes_start a
wait_until 90 "a is back and filled" pair_is_whole
load_goes_on 50

story "B: the other node is killed"
load_mark "B: killed, other"
node_kill a
wait_until 30 "b goes on alone" is_alone b
nodes_start a
check "it does not trust what it had" eval 'grep -q "suspect=.*had in hand what was acknowledged" "${NODE_LOG[a]}"'
wait_until 90 "a is filled" pair_is_whole
load_goes_on 50
story "B: a switchover"
load_mark "B: switchover"
check "b hands over" pctl b cluster switchover
wait_until 30 "a serves" serves a
load_goes_on 50
load_ends_well
wait_until 60 "both copies are complete" pair_is_whole

story "A, told one after the other while a serves"
tell b A; tell a A
restarted b
check "until both are told, B is in force" in_force B
check "a hands over" pctl a cluster switchover
restarted a
check "then A" in_force A
check "b hands over" pctl b cluster switchover
wait_until 30 "a serves" serves a
check "what-if says what may be lost" eval 'pctl a what-if node-a-dies | grep -q "the last answered writes that node b has not received"'

story "A: the way falls silent, and a loses power; all that counts is flushed or has FUA"
start_load --depth 8 --area 32 --rate 1000 --durable --tolerate-errors
load_goes_on 200
load_mark "A: silent, durable"
fall_silent_and_lose_a
wait_until 30 "b serves" serves b
load_goes_on 100 60
power_on a
wait_until 90 "a is back and filled" pair_is_whole
load_goes_on 50
check "b hands over" pctl b cluster switchover
wait_until 30 "a serves" serves a
load_goes_on 50
check "nothing that was flushed or had FUA is lost" stop_load
check "acknowledged = verified" test "$(load_result acknowledged)" -eq "$(load_result verified)"
check "flushes that the takeover met were answered with an error: $(load_result errors)" test "$(load_result errors)" -gt 0

story "A: the same; nothing is flushed"
wait_until 60 "both copies are complete" pair_is_whole
start_load --depth 8 --area 32 --rate 3000 --write-percent 90 --tolerate-errors
load_goes_on 200
load_mark "A: silent"
fall_silent_and_lose_a
wait_until 30 "b serves" serves b
check "b says that something may be lost" \
  eval 'pctl b explain | grep -q "protocol A: writes that node a answered last and that did not come here are lost"'
load_goes_on 100 60
power_on a
wait_until 90 "a is back and filled" pair_is_whole
load_goes_on 50
stop_load || true   # it says that something is lost
check "answered writes are lost, no more than the window: $(lost_kib) KiB" test "$(lost_kib)" -le "$WINDOW_KIB"

story "the result"
wait_until 60 "both copies are complete" pair_is_whole
node_term a; node_term b
check "what only a had is undone: the disks are the same" same_disks
check "mpathd ends when told to" stop_mpathd
