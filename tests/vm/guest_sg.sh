# What sg3-utils asks of the target's unit, whichever way its disk came into this kernel: $DISK. Sourced.

# says TEXT COMMAND...: ends well and prints TEXT, a regular expression of any case
says() {
  local what="${*:2}"
  check "${what//"$DISK"/DISK}: $1" ends_well_and_says "$@"
}
ends_well_and_says() {
  local text=$1 code=0; shift
  "$@" > "$LAB/said" 2>&1 || code=$?
  cat "$LAB/said"
  [ "$code" -eq 0 ] && grep -qiE -- "$text" "$LAB/said"
}

# What it says of itself.
sg_facts() {
  says 'Peripheral device type: disk' sg_inq "$DISK"
  says 'Supported VPD pages' sg_vpd "$DISK"
  says 'Unit serial number: [0-9a-zA-Z-]+' sg_vpd -p sn "$DISK"
  says 'designator type: NAA' sg_vpd -p di "$DISK"
  says 'Maximum unmap LBA count' sg_vpd -p bl "$DISK"
  says 'Unmap command supported \(LBPU\): 1' sg_vpd -p lbpv "$DISK"
  says 'Block device characteristics' sg_vpd -p bdc "$DISK"
  says 'Extended INQUIRY data' sg_vpd -p ei "$DISK"
  says 'Third Party Copy' sg_vpd -p tpc "$DISK"
  says "Last LBA=$(($(blockdev --getsz "$DISK") - 1)) " sg_readcap "$DISK"
  says 'Logical block provisioning: lbpme=1' sg_readcap --16 "$DISK"
  says 'Lun list length = 8 ' sg_luns "$DISK"
  says 'Caching' sg_modes -a "$DISK"
  says 'Control' sg_modes -p 0xa "$DISK"
  says 'Supported log pages' sg_logs "$DISK"
  says 'COMPARE AND WRITE|Compare and write' sg_opcodes "$DISK"
  exits 0 "sg_turs" sg_turs "$DISK"
  exits 0 "sg_requests" sg_requests "$DISK"
  exits 0 "sg_sync" sg_sync "$DISK"
  exits 0 "sg_verify" sg_verify --lba=0 --count=64 "$DISK"
}

# What it does with data.
sg_data() {
  # UNMAP leaves zeroes, and GET LBA STATUS knows.
  dd if=/dev/urandom of="$DISK" bs=1M count=2 seek=16 oflag=direct conv=notrunc status=none
  exits 0 "sg_unmap of 1 MiB" sg_unmap --lba=32768 --num=2048 "$DISK"
  check "it reads as zeroes" cmp -n 1048576 <(dd if="$DISK" bs=1M count=1 skip=16 iflag=direct status=none) /dev/zero
  check "what follows does not" eval '! cmp -s -n 1048576 <(dd if="$DISK" bs=1M count=1 skip=17 iflag=direct status=none) /dev/zero'
  says 'deallocated|anchored' sg_get_lba_status --lba=32768 "$DISK"
  exits 0 "sg_write_same" sg_write_same --16 --lba=34816 --num=2048 --in=/dev/zero --xferlen=512 "$DISK"
  check "it wrote zeroes" cmp -n 1048576 <(dd if="$DISK" bs=1M count=1 skip=17 iflag=direct status=none) /dev/zero

  # COMPARE AND WRITE: the compared half and the written half, one block each.
  { head -c 512 /dev/zero; head -c 512 /dev/urandom; } > "$LAB/pair"
  exits 0 "sg_compare_and_write over zeroes" sg_compare_and_write --in="$LAB/pair" --lba=32768 --num=1 --xferlen=1024 "$DISK"
  check "it wrote its second half" cmp <(dd if="$DISK" bs=512 count=1 skip=32768 iflag=direct status=none) <(tail -c 512 "$LAB/pair")
  exits 14 "the same once more miscompares" sg_compare_and_write --in="$LAB/pair" --lba=32768 --num=1 --xferlen=1024 "$DISK"

  # EXTENDED COPY within the disk. sg_xcopy finds the sg node of a block device by names of udev: it is told.
  SG=/dev/$(basename "/sys/block/${DISK#/dev/}"/device/scsi_generic/*)
  dd if=/dev/urandom of="$DISK" bs=64k count=1 seek=320 oflag=direct conv=notrunc status=none
  exits 0 "sg_xcopy" sg_xcopy if="$SG" of="$SG" bs=512 count=128 skip=40960 seek=43008
  check "both places are equal" cmp <(dd if="$DISK" bs=64k count=1 skip=320 iflag=direct status=none) \
    <(dd if="$DISK" bs=64k count=1 skip=336 iflag=direct status=none)
}

# sg_reservations NAME TYPE: persistent reservations of an exclusive type, held by the initiator NAME
sg_reservations() {
  exits 0 "register" sg_persist -n --out --register --param-sark=0xabc "$DISK"
  exits 0 "reserve" sg_persist -n --out --reserve --param-rk=0xabc --prout-type="$2" "$DISK"
  says '0xabc' sg_persist -n --in --read-keys "$DISK"
  says 'Exclusive Access' sg_persist -n --in --read-reservation "$DISK"
  says "$1" sg_persist -n --in --read-full-status "$DISK"
  says 'PTPL_C\): 1' sg_persist -n --in --report-capabilities "$DISK"
  exits 0 "release" sg_persist -n --out --release --param-rk=0xabc --prout-type="$2" "$DISK"
  exits 0 "unregister" sg_persist -n --out --register --param-rk=0xabc --param-sark=0 "$DISK"
  says 'no registered|0 registered|there are NO registered' sg_persist -n --in --read-keys "$DISK"
}
