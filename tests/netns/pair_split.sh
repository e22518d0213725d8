#!/usr/bin/env bash
# The classic recipe without a third vote (`on_peer_loss continue`): the nodes lose sight of each other, both go on, and it
# is found when they meet: neither serves until a person chooses, and then both copies are what that node had.
# (Topology: pair_lib.sh; the witness's place stays empty.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 qemu-io

io() { local node=$1; shift; in_i qemu-io -f raw "$@" "iscsi://$(address_of "$node" svc0):3260/$IQN/0"; }
# wrote NODE PATTERN OFFSET, reads NODE PATTERN OFFSET: a megabyte
writes() { io "$1" -c "write -P $2 $3 1M" -c flush > "$LAB/io.log" 2>&1 && grep -q "wrote 1048576" "$LAB/io.log"; }
reads() { io "$1" -c "read -P $2 $3 1M" > "$LAB/io.log" 2>&1 && ! grep -q "failed" "$LAB/io.log"; }

pair_config "on_peer_loss continue"
sed -i '/^  witness /d' "$LAB"/{a,b}/etc/mptarget/mptarget.conf
story "two nodes, no witness"
nodes_start a b
check "a begins" pctl a cluster init --yes
wait_until 20 "a serves" serves a
check "b joins" pctl b cluster join --yes
wait_until 60 "the first sync is done" pair_is_whole
check "there is nothing to choose yet" eval '! pctl b cluster connect --discard-my-data --yes 2> "$LAB/refused"'
check "it says so" grep -q "not split" "$LAB/refused"
check "written before the split" writes a 0x11 0

story "they lose sight of each other"
sleep "$STRETCH"   # what is heard in the first moments after a start does not count
parted a b rep0 rep1
wait_until 30 "both serve, as the classic recipe would" eval 'serves a && serves b'
check "a is written to" writes a 0x22 4M
check "b is written to" writes b 0x33 8M
check "b lacks what a got" reads b 0 4M

story "they meet again"
everything_mended
wait_until 30 "a says so" status_has a "SPLIT"
wait_until 30 "b says so" status_has b "SPLIT"
check "neither serves" eval '! serves a && ! serves b'
check "b is to give its data up" pctl b cluster connect --discard-my-data --yes
wait_until 60 "both copies are complete, a serves" eval 'pair_is_whole && serves a'
check "no more alarm" eval '! status_has a SPLIT && ! status_has b SPLIT'
check "what was written before is there" reads a 0x11 0
check "what a got is there" reads a 0x22 4M
check "what b got is not" reads a 0 8M
check "the disks of a and b are equal" same_disks
check "and the other way on: switchover" pctl a cluster switchover
wait_until 30 "b serves" serves b
check "what a got is on b" reads b 0x22 4M
