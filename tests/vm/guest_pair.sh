#!/usr/bin/env bash
# What the guest of kernel_pair does: the fail-over pair, and Linux's own initiator in the guest's first namespace, all in
# this one kernel. (Topology: ../netns/pair_lib.sh; i is the guest itself.)
#
# On a verifying load in user space: verify_load ── NBD ── qemu-nbd, no cache ── the block device that the kernel has made.
here=$(cd "$(dirname "$0")" && pwd)
LAB_POLL=0.5 PAIR_DISK_MIB=24
. "$here/guest_lib.sh"
. "$here/../netns/pair_lib.sh"
PAIR_INITIATOR_PID=$$
pair_begin nft iscsiadm multipathd qemu-nbd verify_load
# The machine ends with the story, and everything in it.
lab_clean() { :; }

VIP_PORTAL=$VIP NODE_A=$(address_of a svc0) NODE_B=$(address_of b svc0)
PLAIN_LUN=1
# Only what never comes is wrong: the machine may be busy with other work.
slow() { wait_until $((36 * STRETCH)) "$@"; }

find_map_of_size() {
  for MAP in $(multipathd show maps raw format "%n" 2> /dev/null); do
    [ "$(blockdev --getsize64 "/dev/mapper/$MAP" 2> /dev/null)" = $(($1 << 20)) ] && return
  done
  return 1
}
# serve DEVICE: for verify_load, at $NBD_SOCKET
serve() {
  NBD_SOCKET=$LAB/load.sock
  rm -f "$NBD_SOCKET"
  start_in $$ "$LAB/qemu-nbd.log" qemu-nbd --persistent --format raw --cache none --socket "$NBD_SOCKET" "$1"
  SERVER=$STARTED
  wait_quietly 60 test -S "$NBD_SOCKET" || { cat "$LAB/qemu-nbd.log" >&2; die "qemu-nbd does not start"; }
}
# settled NODE: it serves, and both copies are complete. One question: each costs a second under emulation.
settled() {
  local lines; lines=$(pair_lines "$1")
  [ -n "$lines" ] && ! grep -qvE 'cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate' <<< "$lines"
}
# accident MARK COMMAND...: under the load; the other node serves after it, and the load goes on
accident() {
  local mark=$1; shift
  load_mark "$mark"
  check "$mark: $SERVING" "$@"
  slow "$OTHER serves" serves "$OTHER"
  load_goes_on 50 $((36 * STRETCH))
  MARKS+=("$mark")
}
kill_the_serving() { node_kill "$SERVING"; }
hand_over() { pctl "$SERVING" cluster switchover; }
# under_load NAME: a node is killed, comes back, and is handed to, while $NBD_SOCKET is written and verified
under_load() {
  local mark
  MARKS=()
  SERVING=$(who_serves)
  OTHER=$(other_node "$SERVING")
  start_load --depth 4 --area 8 --rate 40 --seed 1
  accident "kill -9" kill_the_serving
  load_mark "it comes back"
  node_start "$SERVING"
  slow "both copies are complete" settled "$OTHER"
  SERVING=$OTHER OTHER=$(other_node "$OTHER")
  accident "switchover" hand_over
  load_ends_well
  [ "$LOAD_VERDICT" -eq 0 ] || cat "$LAB/load.log"
  for mark in "${MARKS[@]}"; do
    printf 'stall  %-28s %-12s %6d ms\n' "$1" "$mark" "$(phase_value "$mark" longest_stall_ms)"
  done
  end_process "$SERVER" TERM
}

story "a pair in the guest"
pair_config
pair_make
slow "both copies are complete" settled a
start_iscsid

story "open-iscsi and dm-multipath with ALUA, logged in to both nodes"
prepare_multipath
exits 0 "discovery" iscsiadm -m discovery -t sendtargets -p "$NODE_A"
start_multipathd
exits 0 "login to a" login "$IQN" "$NODE_A"
exits 0 "login to b" login "$IQN" "$NODE_B"
slow "there is a map" find_map_of_size "$PAIR_DISK_MIB"
slow "two groups, one of them active" eval '[ "$(path_groups | wc -l)" -eq 2 ] && path_groups | grep -q " active "'
serve "/dev/mapper/$MAP"
under_load "dm-multipath, ALUA"
check "multipathd removes its maps" wait_quietly 60 multipath -F
end_process "$MULTIPATHD" TERM
exits 0 "logout" iscsiadm -m node --logoutall=all
check "no session is left" wait_quietly 60 no_session

story "open-iscsi without multipath, on the virtual address"
slow "both copies are complete" settled a
record "$IQN" "$VIP_PORTAL" node.session.timeo.replacement_timeout 120
exits 0 "login" login "$IQN" "$VIP_PORTAL"
wait_quietly 60 disk_of "$IQN" "$VIP_PORTAL" "$PLAIN_LUN" || die "no disk at the virtual address"
serve "$DISK"
under_load "open-iscsi, virtual address"
exits 0 "logout" logout "$IQN" "$VIP_PORTAL"

story "the copies"
slow "both copies are complete" settled a
check "a ends in order" node_term a
check "b ends in order" node_term b
check "the disks of a and b are equal" same_disks
