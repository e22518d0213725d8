# Words about the map as a disk of the guest's kernel. Sourced. A story sets KIND (the word of `export map`) first.
#   MAP, WWID: of the map; DISK: its device node, once disk_opens has found it

KIND= DISK=
# Only what never comes is wrong: emulation is slow, and the machine may be busy with other work.
slow() { wait_until $((36 * ${LAB_STRETCH:-1})) "$@"; }

# The device that `show maps` names.
device_of_map() { ctl show maps raw format "%X" | tr ',' '\n' | grep '^/dev/'; }
disk_opens() {
  exits 0 "export map $MAP as $KIND" ctl export map "$MAP" as "$KIND"
  DISK=$(device_of_map)
  check "its device is there: $DISK" test -b "$DISK"
  check "it has the size of the map" test "$(blockdev --getsize64 "$DISK")" -eq "$(nbd_size)"
  slow "udev has linked its name" test "/dev/mpath/$MAP" -ef "$DISK"
  check "and its WWID" test "/dev/disk/by-id/scsi-$WWID" -ef "$DISK"
  check "and the way to it" test "/dev/disk/by-path/ip-$PORTAL0:3260-iscsi-$IQN-lun-0" -ef "$DISK"
}
nbd_size() { nbdinfo --size "nbd+unix:///?socket=/run/mpathd/nbd/$MAP.sock"; }
disk_closes() {
  local gone_disk=$DISK
  exits 0 "unexport map $MAP as $KIND" ctl unexport map "$MAP" as "$KIND"
  check "no device is named any more" eval '[ -z "$(device_of_map)" ]'
  slow "the kernel has none of it" disk_is_gone "$gone_disk"
}
# A node may stay (nbd's do): then it has no size.
disk_is_gone() { [ ! -b "$1" ] || [ "$(blockdev --getsize64 "$1" 2> /dev/null || echo 0)" -eq 0 ]; }

# verified NAME OPTION...: fio writes and reads back; its errors fail
verified() {
  local name=$1; shift
  exits 0 "fio writes and verifies: $name" fio --name="$name" --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
    --do_verify=1 "$@"
}

# A file system, with each path cut in turn while it is written.
file_system_story() {
  story "$KIND: a file system over two paths, each of them cut while it is written"
  exits 0 "mkfs.ext4" mkfs.ext4 -q -F "$DISK"
  mkdir -p /mnt
  exits 0 "mount" mount "$DISK" /mnt
  check "what is mounted is not taken away" eval '! ctl unexport map "$MAP" as "$KIND"'
  fio --name=cut --directory=/mnt --size=24M --rw=randwrite --bs=4k --rate_iops=600 --ioengine=libaio --iodepth=8 --direct=1 \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=128 > "$LAB/fio.cut.log" 2>&1 &
  local fio=$! nic
  for nic in eth0 eth1; do
    sleep 1
    link_down "$nic"
    slow "the path over $nic has failed" nic_paths_are "$nic" 1 failed
    sleep 1
    link_up "$nic"
    slow "both paths are active again" paths_are 2 active
  done
  wait "$fio"
  check "fio had no error and read everything back" test $? -eq 0
  rm -f /mnt/cut*
  exits 0 "umount" umount /mnt
  exits 0 "fsck finds nothing" fsck.ext4 -f -n "$DISK"
}

partitions_story() {
  story "$KIND: partitions"
  printf 'label: gpt\nsize=64M\nsize=64M\n' | sfdisk -q "$DISK" > "$LAB/sfdisk.log" 2>&1
  udevadm trigger --settle "$DISK" 2> /dev/null
  slow "both are linked" eval '[ -b "/dev/mpath/$MAP-part1" ] && [ -b "/dev/mpath/$MAP-part2" ]'
  check "the second begins behind the first" test "$(blockdev --getsize64 "/dev/mpath/$MAP-part2")" -eq $((64 << 20))
  verified partition --filename="/dev/mpath/$MAP-part2" --size=4M --rw=write --bs=64k
  sfdisk -q --delete "$DISK"
  wipefs -qa "$DISK"
}

# The target's unit grows while a file system on it is mounted.
resize_story() {
  local bytes
  story "$KIND: resized on line"
  exits 0 "mkfs.xfs" mkfs.xfs -q -f "$DISK"
  exits 0 "mount" mount "$DISK" /mnt
  bytes=$(($(blockdev --getsize64 "$DISK") + (128 << 20)))
  sed -i "s/^  size .*/  size $((bytes >> 20))M/" "$LAB/main/etc/mptarget/mptarget.conf"
  exits 0 "the target grows the unit" tctl main reload
  exits 0 "resize map" ctl resize map "$MAP"
  slow "the disk has the new size" eval '[ "$(blockdev --getsize64 "$DISK")" -eq '$bytes' ]'
  exits 0 "xfs_growfs" xfs_growfs /mnt
  verified grown --directory=/mnt --size=8M --rw=write --bs=64k
  rm -f /mnt/grown*
  exits 0 "umount" umount /mnt
  exits 0 "xfs_repair finds nothing" xfs_repair -n "$DISK"
}

# restart_story "how" COMMAND...: mpathd ends by the command while the disk is written, and another begins seconds later
restart_story() {
  local how=$1 fio name=$DISK; shift
  story "$KIND: mpathd $how under load, and started again"
  fio --name=restart --filename="$DISK" --size=24M --rw=randwrite --bs=4k --rate_iops=500 --ioengine=libaio --iodepth=16 --direct=1 \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --output-format=json --output="$LAB/fio.json" > "$LAB/fio.log" 2>&1 &
  fio=$!
  sleep 4
  check "mpathd is gone" "$@"
  sleep "$AWAY"
  start_mpathd
  slow "both paths are active, the disk is $name again" eval 'paths_are 2 active && [ "$(device_of_map)" = "'"$name"'" ]'
  wait "$fio"
  check "fio had no error and read everything back" test $? -eq 0
  printf '        longest stall, with the %s s in between: %s ms\n' "$AWAY" "$(longest_write_ms)"
}
AWAY=3
longest_write_ms() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["jobs"][0]["write"]["lat_ns"]["max"] // 1000000)' "$LAB/fio.json"; }
