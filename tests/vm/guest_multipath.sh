# Story: dm-multipath with the alua handler over two target port groups: their states make the path groups, a change of
# state moves the I/O, and so does a portal that is gone. Sourced in the guest.

story "dm-multipath with ALUA over two portal groups"
prepare_multipath
exits 0 "discovery of portal group 2" iscsiadm -m discovery -t sendtargets -p "$GROUP2"
check "portal group 1 is optimized, portal group 2 is not" host alua 1=active/optimized 2=active/non-optimized
start_multipathd
exits 0 "login to portal group 1" login "$IQN.alua" "$GROUP1"
exits 0 "login to portal group 2" login "$IQN.alua" "$GROUP2"
wait_quietly 20 disk_of "$IQN.alua" "$GROUP1" || die "no disk through portal group 1"
FIRST=${DISK#/dev/}
wait_quietly 20 disk_of "$IQN.alua" "$GROUP2" || die "no disk through portal group 2"
SECOND=${DISK#/dev/}
wait_until 30 "there is a map" find_map
wait_until 90 "two groups, of 50 and 10, the first active" groups_are "50 active $FIRST;10 enabled $SECOND;"
check "the kernel's alua handler has the paths" grep -qx alua "/sys/block/$FIRST/device/dh_state"

# Rounds of verified writes until told to stop.
rounds() {
  local n=0
  while [ ! -e "$LAB/stop" ]; do
    fio --name=round --filename="/dev/mapper/$MAP" --offset=$((n % 16 * 4))M --size=4M --rw=randwrite --bs=16k --ioengine=libaio \
      --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=$n || return
    n=$((n + 1))
    echo $n > "$LAB/rounds"
  done
}
rounds > "$LAB/rounds.log" 2>&1 &
ROUNDS=$!
wait_until 30 "I/O goes through $FIRST, portal group 1" grows "$FIRST" "$(written "$FIRST")"
before=$(written "$SECOND")
check "the states change places" host alua 1=active/non-optimized 2=active/optimized
wait_until 30 "the group of $SECOND is active" active_disk_is "$SECOND"
wait_until 30 "I/O goes through it" grows "$SECOND" "$before"

before=$(written "$FIRST")
check "portal group 1 is optimized, 2 is standby" host alua 1=active/optimized 2=standby
wait_until 30 "the group of $FIRST is active" active_disk_is "$FIRST"
wait_until 30 "I/O goes through it" grows "$FIRST" "$before"

check "both are optimized" host alua 1=active/optimized 2=active/optimized
wait_until 30 "one group of both" eval 'path_groups | grep -qE "^50 active ($FIRST $SECOND|$SECOND $FIRST)\$"'
before=$(written "$SECOND")
check "portal group 1 cannot be reached" host unplug 1
wait_until 60 "its path is failed" eval 'multipathd show paths raw format "%d %t" | grep -q "$FIRST failed"'
wait_until 30 "I/O goes through $SECOND" grows "$SECOND" "$before"
check "portal group 1 is back" host plug 1
wait_until 60 "its path is active again" eval 'multipathd show paths raw format "%d %t" | grep -q "$FIRST active"'
before=$(written "$FIRST")
wait_until 30 "I/O goes through it" grows "$FIRST" "$before"

touch "$LAB/stop"
wait "$ROUNDS"
status=$?
[ $status -eq 0 ] || cat "$LAB/rounds.log"
check "every round of verified writes ended well ($(cat "$LAB/rounds"))" test $status -eq 0
check "multipathd removes the map" wait_quietly 20 multipath -f "$MAP"
end_process "$MULTIPATHD" TERM
exits 0 "logout" iscsiadm -m node --logoutall=all
check "no session is left" wait_quietly 20 no_session
