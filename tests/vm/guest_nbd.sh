# Story: the kernel's NBD client. Sourced in the guest of kernel_disks.
KIND=nbd
story "nbd: /dev/nbdN"
disk_opens
name=${DISK#/dev/}
check "the kernel knows the map by its WWID" test "$(cat "/sys/block/$name/backend")" = "$WWID"
check "requests may have a mebibyte" test "$(cat "/sys/block/$name/queue/max_sectors_kb")" -eq 1024
check "it has a write cache, which flushes reach" grep -q "write back" "/sys/block/$name/queue/write_cache"
check "it can discard" test "$(cat "/sys/block/$name/queue/discard_max_bytes")" -gt 0
verified plain --filename="$DISK" --size=8M --rw=randwrite --bsrange=4k-64k --iodepth=16 --fsync=32
exits 0 "blkdiscard" blkdiscard "$DISK"
file_system_story
partitions_story
resize_story
restart_story "killed" kill_mpathd
restart_story "told to end" stop_mpathd
story "nbd: taken away by somebody else"
if nbd-client -d "$DISK" > /dev/null 2>&1; then
  slow "mpathd notices" eval '[ -z "$(device_of_map)" ]'
  disk_opens
fi
disk_closes
