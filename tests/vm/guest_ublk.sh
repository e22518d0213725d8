# Story: ublk. Sourced in the guest of kernel_disks. On a kernel without it (6.1) the daemon says so and goes on.
KIND=ublk
if ! modprobe -q ublk_drv; then
  story "ublk: a kernel without it"
  exits 1 "export map $MAP as ublk" ctl export map "$MAP" as ublk
  check "it says why" grep -q "ublk_drv" "$LAB/out" "$LAB/err"
  check "and why in the log" grep -q "the kernel has no ublk" "$LAB/mpathd.log"
  check "no device is named" eval '[ -z "$(device_of_map)" ]'
  check "mpathd goes on" test "$(nbd_size)" -gt 0
  return 0
fi

story "ublk: /dev/ublkbN"
disk_opens
queue=/sys/block/${DISK#/dev/}/queue
check "requests may have 256 KiB" test "$(cat "$queue/max_hw_sectors_kb")" -eq 256
check "it has a write cache, which flushes reach" grep -q "write back" "$queue/write_cache"
check "it takes force unit access" test "$(cat "$queue/fua")" -eq 1
check "it can discard" test "$(cat "$queue/discard_max_bytes")" -gt 0
check "it can write zeroes" test "$(cat "$queue/write_zeroes_max_bytes")" -gt 0
verified plain --filename="$DISK" --size=8M --rw=randwrite --bsrange=4k-64k --iodepth=16 --fsync=32

allocated() { du -k "$LAB/disk.img" | cut -f 1; }
before=$(allocated)
exits 0 "blkdiscard" blkdiscard -f "$DISK"
check "the target has its space back ($before, then $(allocated) KiB)" test "$(allocated)" -lt "$before"
exits 0 "zeroes" blkdiscard -f -z --length 1M "$DISK"
check "are read" cmp -n 1048576 "$DISK" /dev/zero

if command -v strace > /dev/null; then
  strace -f -e trace=fsync,fdatasync,sync_file_range -o "$LAB/sync.log" -p "$(pgrep -o mptargetd)" 2> /dev/null &
  tracer=$!
  slow "the target is watched" test -e "$LAB/sync.log"
  sleep 2
  check "nothing is flushed unasked" eval '! grep -q "sync(" "$LAB/sync.log"'
  exits 0 "a write and a flush" dd if=/dev/urandom "of=$DISK" bs=4k count=1 conv=fsync,notrunc status=none
  slow "the flush has reached the target's file" grep -q 'sync(' "$LAB/sync.log"
  kill "$tracer"
fi
disk_closes

# Its own counters: strace would make the batches larger by slowing mpathd down.
story "ublk: system calls"
disk_opens
fio --name=count --filename="$DISK" --size=32M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=32 --direct=1 --loops=2 > "$LAB/fio.count.log" 2>&1
check "16384 writes at depth 32" test $? -eq 0
disk_closes
counted() { sed -n "s/.* removed .*$1=\([0-9]*\).*/\1/p" "$LAB/mpathd.log" | tail -1; }
check "$(counted requests) requests, $(counted enters) calls of io_uring_enter: less than one for two" \
  test "$(counted enters)" -gt 0 -a $(($(counted enters) * 2)) -lt "$(counted requests)"

disk_opens
file_system_story
partitions_story
story "ublk: a unit that grows"
sed -i "s/^  size .*/  size 400M/" "$LAB/main/etc/mptarget/mptarget.conf"
exits 0 "the target grows the unit" tctl main reload
exits 0 "resize map" ctl resize map "$MAP"
if grep -q "this kernel cannot resize" "$LAB/mpathd.log"; then
  passed "the kernel cannot, and the log says so"
else
  slow "the disk has the new size" eval '[ "$(blockdev --getsize64 "$DISK")" -eq $((400 << 20)) ]'
fi
restart_story "killed" kill_mpathd
restart_story "told to end" stop_mpathd
disk_closes

# A disk in memory, so that as much as possible is on its way between the kernel and us when we go.
story "ublk: processes that come and go"
ram=$BIN/ram_disk
ram_begins() {
  rm -f "$LAB/ram.out"
  start_in $$ "$LAB/ram.log" sh -c 'exec "$0" --file /dev/shm/ram --size 67108864 > "$1"' "$ram" "$LAB/ram.out"
  RAM=$STARTED
  slow "$1" test -s "$LAB/ram.out"
}
ram_begins "it is made"
ram_disk=/dev/$(cat "$LAB/ram.out")
fios=()
for depth in 1 32; do
  fio --name="ram$depth" --filename="$ram_disk" --offset="$depth"M --size=16M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=$depth --direct=1 \
    --time_based --runtime=600 > "$LAB/fio.ram$depth.log" 2>&1 &
  fios+=($!)
done
sleep 3
for signal in TERM TERM TERM TERM KILL KILL; do
  check "$signal" end_process "$RAM" $signal
  ram_begins "the next takes over"
  sectors=$(awk '{print $7}' "/sys/block/${ram_disk#/dev/}/stat")
  slow "the load goes on" eval '[ "$(awk "{print \$7}" "/sys/block/${ram_disk#/dev/}/stat")" -gt $((sectors + 64)) ]'
done
check "both loads are still there" kill -INT "${fios[@]}"
wait "${fios[@]}"
check "without an error" eval '! grep -hi "error=" "$LAB"/fio.ram*.log'
kill -USR1 "$RAM"
slow "it is taken away" test ! -b "$ram_disk"
