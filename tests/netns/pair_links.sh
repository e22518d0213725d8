#!/usr/bin/env bash
# Replication over two links at once: one of them falls silent, is reset, or loses its cable while writes run. The stream
# goes on over the other, without a resync; the link joins again, and carries everything when the other one goes. All of it
# with authenticated messages.
# (Topology: pair_lib.sh. The replication networks are rep0 and rep1.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo

streams_ended() { cat "${NODE_LOG[a]}" "${NODE_LOG[b]}" | grep -c "disconnected from the peer"; }

fault_silent() { parted a b "rep$1"; }
mend_silent() { cuts_mend; }
# What comes from the other node is answered with a reset.
fault_reset() {
  in_node b nft add table inet resets
  in_node b nft add chain inet resets input '{ type filter hook input priority 0; }'
  in_node b nft add rule inet resets input iifname "rep$1" meta l4proto tcp reject with tcp reset
}
mend_reset() { in_node b nft delete table inet resets; }
fault_cable() { cable_cut b "rep$1"; }
mend_cable() { cable_mend b "rep$1"; }

# lose KIND NUMBER: and get it back
lose() {
  local kind=$1 link=$2 mark="$1 $2" ended view
  story "rep$link: $kind"
  ended=$(streams_ended) view=$(view_number a)
  load_mark "$mark"
  "fault_$kind" "$link"
  wait_until 20 "both nodes see that the link is lost" links_are "$link" lost
  load_goes_on 200
  check "the stream goes on" test "$(streams_ended)" -eq "$ended"
  check "both copies stay complete" pair_is_whole
  load_mark "mended"
  "mend_$kind" "$link"
  wait_until 30 "the link has joined again" all_links_up
  load_goes_on 100
  check "nobody had to be filled: the view is the same" test "$(view_number a)" -eq "$view"
  MARKS+=("$mark")
}
MARKS=()

pair_config "stream_auth hmac-sha256"
story "a pair with two replication links"
pair_make
wait_until 60 "both copies are complete" pair_is_whole
wait_until 20 "each unit's stream goes over both links" all_links_up
pair_load 2000
load_goes_on 200
pctl a cluster status | sed 's/^/        /'

# Each link in turn carries what there is: whatever was moved to the other one comes back.
for kind in silent reset cable; do
  for link in 0 1; do lose "$kind" "$link"; done
done

story "the result"
load_ends_well
check "links were given up for silence, not for TCP's own limit" \
  eval 'cat "${NODE_LOG[a]}" "${NODE_LOG[b]}" | grep -q "link lost .*it carries nothing any more"'
printf '        longest stall of the load:'
longest=0
for mark in "${MARKS[@]}"; do
  stall=$(phase_value "$mark" longest_stall_ms)
  printf ' %s %s ms;' "$mark" "$stall"
  [ "$stall" -le "$longest" ] || longest=$stall
done
echo
# One connection that falls silent holds its writes for a second, and for the next one to be made. On a machine that is
# busy with something else the load stands still by itself, too.
quiet=$(phase_value mended longest_stall_ms)
check "no link cost a second: $longest ms at most, and $quiet ms when nothing was lost" \
  test "$longest" -lt $((1000 * STRETCH + quiet))
node_term b
node_term a
check "the copies are equal" same_disks
check "mpathd ends when told to" stop_mpathd
