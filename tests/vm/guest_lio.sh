# Story: the same disks over LIO instead of our target. Sourced in the guest of kernel_disks, after others or alone.
story "LIO, the kernel's own target"
modprobe brd rd_nr=1 rd_size=$((128 << 10))
lio_begin "$IQN.lio" /dev/ram0 "$PORTAL0:3262"
exits 0 "discovery" adm -m discovery -t sendtargets -p "$PORTAL0:3262" -I ieth0 -I ieth1
exits 0 "login" adm -m node -T "$IQN.lio" --login
slow "it has two paths" paths_are 4 active
of_lio() { ctl show maps raw format "$1 %S" | awk '$NF == "128M" {print $1}'; }
OUR_MAP=$MAP OUR_WWID=$WWID OUR_IQN=$IQN
MAP=$(of_lio %n) WWID=$(of_lio %w) IQN=$IQN.lio KIND=nbd
check "it is a map of its own: $MAP" test -n "$MAP" -a "$MAP" != "$OUR_MAP"
check "its socket is there" test -S "/run/mpathd/nbd/$MAP.sock"
exits 0 "export map $MAP as $KIND" ctl export map "$MAP" as "$KIND"
slow "udev has linked it" test -b "/dev/mpath/$MAP"
DISK=$(readlink -f "/dev/mpath/$MAP")
verified lio --filename="$DISK" --size=8M --rw=randwrite --bsrange=4k-64k --iodepth=16 --fsync=32
exits 0 "mkfs.ext4" mkfs.ext4 -q -F "$DISK"
exits 0 "mount" mount "$DISK" /mnt
fio --name=lio --directory=/mnt --size=12M --rw=randwrite --bs=4k --rate_iops=500 --ioengine=libaio --iodepth=8 --direct=1 \
  --verify=crc32c --verify_fatal=1 --do_verify=1 > "$LAB/fio.lio.log" 2>&1 &
fio=$!
sleep 2
link_down eth1
slow "the paths over eth1 have failed" nic_paths_are eth1 2 failed
sleep 1
link_up eth1
slow "all paths are active again" paths_are 4 active
wait "$fio"
check "fio had no error and read everything back" test $? -eq 0
rm -f /mnt/lio*
exits 0 "umount" umount /mnt
exits 0 "fsck finds nothing" fsck.ext4 -f -n "$DISK"
exits 0 "unexport map $MAP as $KIND" ctl unexport map "$MAP" as "$KIND"
exits 0 "logout" adm -m node -T "$IQN" --logout
MAP=$OUR_MAP WWID=$OUR_WWID IQN=$OUR_IQN
