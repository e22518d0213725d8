#!/usr/bin/env bash
# Other people's initiators against mptargetd: libiscsi's tools, qemu-img and qemu-io over iscsi://. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin mptargetd iscsi-ls qemu-img qemu-io

MIB=1048576
secret=initiator-secret
disk_config "$LAB/disk.img" | target_config main
start_mptargetd main
URL=iscsi://$PORTAL0:3260/$IQN/0
CHAP_URL=iscsi://initiator%$secret@$PORTAL0:3260/$IQN.chap/0

story "libiscsi's tools"
exits 0 "iscsi-ls" in_i iscsi-ls -s "iscsi://$PORTAL0"
out_has "Target:$IQN Portal:$PORTAL0:3260,1"
check "it lists the disk of 256 MiB" grep -qE '^Lun:0 +Type:DIRECT_ACCESS \(Size:25[56]M\)' "$LAB/out"
exits 0 "iscsi-inq" in_i iscsi-inq "$URL"
out_has "Vendor:MPATH"
exits 0 "iscsi-inq of the designators" in_i iscsi-inq -e 1 -c 131 "$URL"
out_has "Designator Type:(3) NAA"
exits 0 "iscsi-readcapacity16" in_i iscsi-readcapacity16 "$URL"
out_has "Total size:268435456"
exits 0 "iscsi-swp protects the disk" in_i iscsi-swp -s on "$URL"
check "and a write fails" eval '! in_i qemu-io -f raw -c "write -P 1 0 4k" "$URL"'
exits 0 "iscsi-swp takes it back" in_i iscsi-swp -s off "$URL"
exits 0 "iscsi-perf for two seconds" in_i iscsi-perf -r -m 32 -b 8 -t 2 "$URL"

story "qemu-io"
io() { in_i qemu-io -f raw "$@"; }
exits 0 "writes patterns and reads them back" io -c "write -P 0x5a 0 1M" -c "write -P 0xa5 1M 4k" -c "flush" \
  -c "read -P 0x5a 0 1M" -c "read -P 0xa5 1M 4k" -c "read -P 0 1052672 64k" "$URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
check "the bytes are in the file" cmp -n $MIB "$LAB/disk.img" <(head -c $MIB /dev/zero | tr '\0' Z)
exits 0 "odd places and lengths" io -c "write -P 7 513 4097" -c "read -P 7 513 4097" -c "read -P 0x5a 0 513" "$URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
exits 0 "discard, and zeroes are read" io -d unmap -c "discard 0 1M" -c "read -P 0 0 1M" "$URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
exits 0 "write zeroes" io -c "write -z 1M 64k" -c "read -P 0 1M 64k" "$URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
exits 0 "many requests at once" io -c "aio_write -P 1 8M 1M" -c "aio_write -P 2 9M 1M" -c "aio_write -P 3 10M 1M" -c "aio_flush" \
  -c "read -P 1 8M 1M" -c "read -P 2 9M 1M" -c "read -P 3 10M 1M" "$URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
check "past the end is refused" eval '! io -c "read 256M 4k" "$URL"'
for digest in crc32c none-crc32c; do
  exits 0 "header digest $digest" in_i qemu-io --image-opts -c "write -P 9 2M 512k" -c "read -P 9 2M 512k" \
    "driver=iscsi,transport=tcp,portal=$PORTAL0,target=$IQN,lun=0,header-digest=$digest"
  check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
done

story "qemu-img"
dd if=/dev/urandom of="$LAB/image" bs=1M count=24 status=none
truncate -s 256M "$LAB/image"
exits 0 "convert an image to the disk" in_i qemu-img convert -n -f raw -O raw "$LAB/image" "$URL"
exits 0 "compare says they are equal" in_i qemu-img compare -f raw -F raw "$LAB/image" "$URL"
check "the holes are holes: $(du -k "$LAB/disk.img" | cut -f1) KiB are allocated" test "$(du -k "$LAB/disk.img" | cut -f1)" -lt 40000
exits 0 "info" in_i qemu-img info "$URL"
out_has "virtual size: 256 MiB"
exits 0 "map" in_i qemu-img map -f raw --output=json "$URL"
check "it tells data from holes" eval 'grep -q "\"data\": true" "$LAB/out" && grep -q "\"zero\": true" "$LAB/out"'
exits 0 "and back, into another file" in_i qemu-img convert -f raw -O raw "$URL" "$LAB/copy"
check "it is the image" cmp "$LAB/image" "$LAB/copy"

story "CHAP, for a target that comes while others are served"
{ disk_config "$LAB/disk.img"
  printf 'target %s.chap {\n  lun 0 disk\n  incoming_user initiator %s\n}\n' "$IQN" "$secret"; } | target_config main
check "the target takes the new configuration" tctl main reload
check "without a secret there is no login" eval '! in_i iscsi-inq "iscsi://$PORTAL0:3260/$IQN.chap/0"'
check "with a wrong one neither" eval '! in_i iscsi-inq "iscsi://initiator%wrong-secret-12@$PORTAL0:3260/$IQN.chap/0"'
exits 0 "with it there is" in_i qemu-io -f raw -c "write -P 4 3M 64k" -c "read -P 4 3M 64k" "$CHAP_URL"
check "none differs" eval '! grep -q "verification failed" "$LAB/out"'
check "the log holds no secret" eval '! grep -q "$secret" "$LAB"/mptargetd.*.log'

story "the end"
check "mptargetd ends when told to" stop_mptargetd main TERM
