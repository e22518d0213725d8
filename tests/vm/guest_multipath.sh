# Story: dm-multipath with the alua handler over two target port groups: their states make the path groups, a change of
# state moves the I/O, and so does a portal that is gone. Sourced in the guest.

MAP=
# The path groups as `multipath -ll` has them: one line each, "PRIO STATUS DISK...", best first.
path_groups() {
  multipath -ll "$MAP" 2> /dev/null | awk '
    /policy=/ {if (line != "") print line; match($0, /prio=-?[0-9]+/); prio = substr($0, RSTART + 5, RLENGTH - 5)
               match($0, /status=[a-z]+/); line = prio " " substr($0, RSTART + 7, RLENGTH - 7); next}
    / sd[a-z]+ / {for (i = 1; i <= NF; ++i) if ($i ~ /^sd[a-z]+$/) line = line " " $i}
    END {if (line != "") print line}'
}
groups_are() { path_groups > "$LAB/groups"; [ "$(tr '\n' ';' < "$LAB/groups")" = "$1" ]; }
active_disk_is() { path_groups | grep -qE "^-?[0-9]+ active $1\$"; }
written() { awk '{print $7}' "/sys/block/$1/stat"; }  # sectors
grows() { local before=$2; [ "$(written "$1")" -gt $((before + 64)) ]; }
find_map() { MAP=$(multipathd show maps raw format "%n" 2> /dev/null | head -1); [ -n "$MAP" ] && [ -b "/dev/mapper/$MAP" ]; }

story "dm-multipath with ALUA over two portal groups"
# multipathd lives on udev's events and its names. Elsewhere udev is left out: its probes of each new disk cost time.
/lib/systemd/systemd-udevd --daemon 2> /dev/null
modprobe -a dm_multipath dm_service_time scsi_dh_alua
cat > /etc/multipath.conf << 'CONF'
defaults {
  find_multipaths no
  user_friendly_names no
  path_grouping_policy group_by_prio
  failback immediate
  polling_interval 1
  max_polling_interval 2
  no_path_retry 30
  verbosity 2
}
blacklist {
  devnode "^(vd|nbd|loop|ram)"
}
CONF
exits 0 "discovery of portal group 2" iscsiadm -m discovery -t sendtargets -p "$GROUP2"
check "portal group 1 is optimized, portal group 2 is not" host alua 1=active/optimized 2=active/non-optimized
multipathd -d -s > "$LAB/multipathd.log" 2>&1 &
MULTIPATHD=$!
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
