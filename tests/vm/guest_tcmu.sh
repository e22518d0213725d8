# Story: the kernel's TCMU and tcm_loop. Sourced in the guest of kernel_disks.
KIND=tcmu
. "$here/guest_sg.sh"
# However the story ends: without a server the kernel would wait for the disk for ever, also to power off.
lab_clean() {
  local each
  for each in /sys/class/scsi_device/*/device; do
    echo offline > "$each/state"
  done
  for each in /sys/kernel/config/target/core/user_*/*/action/reset_ring; do [ ! -e "$each" ] || echo 2 > "$each"; done
} 2> /dev/null

story "tcmu: /dev/sdX"
disk_opens
name=${DISK#/dev/}
says "0x${WWID#3}" sg_vpd -p di "$DISK"
check "its identity has no port of one path" eval '! sg_vpd -p di "$DISK" | grep -i "target port"'
check "nor a page of ports" eval '! sg_vpd -p sp "$DISK"'
says 'TPGS=0' sg_inq "$DISK"
exits 9 "there are no port groups to report" sg_rtpg -d "$DISK"
check "the host gives up no command for its age" test "$(cat "/sys/block/$name/device/timeout")" -eq 2000000
check "it has a write cache, which flushes reach" grep -q "write back" "/sys/block/$name/queue/write_cache"
check "it can discard" test "$(cat "/sys/block/$name/queue/discard_max_bytes")" -gt 0
verified plain --filename="$DISK" --size=8M --rw=randwrite --bsrange=4k-64k --iodepth=16 --fsync=32
exits 0 "blkdiscard" blkdiscard "$DISK"

story "tcmu: sg3-utils"
modprobe sg
sg_facts
sg_data
sg_reservations iqn 6
file_system_story
partitions_story
resize_story
restart_story "killed" kill_mpathd
restart_story "told to end" stop_mpathd
slow "udev has looked at what was written" eval 'udevadm settle && ! find /proc/[0-9]*/fd -lname "$DISK*" 2> /dev/null | grep -q .'
disk_closes
check "and nothing of it is left in configfs" eval '! ls -d /sys/kernel/config/target/core/user_* /sys/kernel/config/target/loopback/naa.* 2> /dev/null'
