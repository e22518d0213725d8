# Story: a file system on the disk, verified writes, and what sg3-utils asks of a disk. Sourced in the guest.

story "a file system: mkfs.ext4, fio with verification, fstrim, fsck"
record "$IQN" "$GROUP1" node.session.iscsi.InitialR2T No node.session.iscsi.ImmediateData Yes \
  'node.conn[0].iscsi.HeaderDigest' None 'node.conn[0].iscsi.DataDigest' None
exits 0 "login" login "$IQN" "$GROUP1"
wait_quietly 20 disk_of "$IQN" "$GROUP1" || die "no disk"
check "the disk has the size that the target gave it" test "$(blockdev --getsize64 "$DISK")" -eq "$DISK_BYTES"
exits 0 "mkfs.ext4" mkfs.ext4 -q -F "$DISK"
mkdir -p /mnt
exits 0 "mount" mount "$DISK" /mnt
exits 0 "fio writes and verifies" fio --name=verify --directory=/mnt --size=24M --rw=randwrite --bs=4k-64k --bsrange=4k-64k \
  --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 --end_fsync=1
rm -f /mnt/verify*
exits 0 "fstrim" fstrim -v /mnt
exits 0 "umount" umount /mnt
exits 0 "fsck finds nothing" fsck.ext4 -f -n "$DISK"

story "sg3-utils"
. "$(dirname "${BASH_SOURCE[0]}")/guest_sg.sh"
says 'TPGS=[1-3]' sg_inq "$DISK"
says 'Relative target port' sg_vpd -p di "$DISK"
says 'target port group id : 0x1 ' sg_rtpg -d "$DISK"
sg_facts
sg_data
sg_reservations iqn.2026-11.example.lab:guest 3
exits 0 "logout" logout "$IQN" "$GROUP1"
check "no session is left" wait_quietly 20 no_session
