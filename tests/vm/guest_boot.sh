#!/usr/bin/env bash
# What the guest of boot does, once multi-user.target is reached: guest_boot.sh STORY. After it the machine shuts down.
#   DEBS: where the packages are; WWID: of the disk
here=$(cd "$(dirname "$0")" && pwd)
LAB_POLL=0.3
. "$here/guest_lib.sh"
LAB=/run/lab
mkdir -p "$LAB"
PATH=${PATH#"$BIN":}   # what the packages bring
slow() { wait_until $((36 * ${LAB_STRETCH:-1})) "$@"; }
property() { systemctl show -P "$2" "$1"; }
microseconds() { property "$1" ActiveEnterTimestampMonotonic; }
PROMPT=serial-getty@ttyS0.service
FSTAB="/dev/mpath/data /mnt/data ext4 _netdev,x-systemd.device-timeout"
is_mounted() { mountpoint -q /mnt/data; }
paths_of() { [ "$(mpathctl show paths raw format "%t" 2> /dev/null | grep -c "^$1")" -eq "$2" ]; }
disks_of_map() { mpathctl show maps raw format "%X" | tr ',' '\n' | grep -c '^/dev/'; }
main_pid() { property mpathd.service MainPID; }

# The machine boots into a file system on the map: fstab alone does it.
mounted_at_boot() {
  story "boot: $1"
  slow "there is a login prompt" systemctl -q is-active "$PROMPT"
  check "it is mounted" is_mounted
  check "it was before the prompt" test "$(microseconds mnt-data.mount)" -lt "$(microseconds "$PROMPT")"
  check "what was written is there" cmp /mnt/data/word <(echo kept)
  check "the file system was checked, and clean" eval 'journalctl -b -o cat -u "systemd-fsck@*" | grep -E ": clean, "'
  check "no unit failed" eval '[ -z "$(systemctl --failed --plain --no-legend | tee /dev/stderr)" ]'
  printf '        mounted %s ms after the kernel began, prompt %s ms\n' "$(($(microseconds mnt-data.mount) / 1000))" \
    "$(($(microseconds "$PROMPT") / 1000))"
}
next_boot_waits() { sed -i "s/device-timeout=[0-9]*/device-timeout=$1/" /etc/fstab; }
# other_kind KIND MODULE...: the map as another kind of disk, under the restrictions of the packaged unit, which may not load
# modules: the administrator has them loaded at boot.
other_kind() {
  local kind=$1 load
  shift
  story "the packaged unit and $kind"
  printf '%s\n' "$@" > "/etc/modules-load.d/mpathd-$kind.conf"
  exits 0 "its modules, as at boot" systemctl restart systemd-modules-load.service
  exits 0 "export as $kind" mpathctl export map data as "$kind"
  slow "it is a disk" test -b /dev/mpath/data
  exits 0 "mount" mount /dev/mpath/data /mnt/data
  check "what was written is there" grep -qx kept /mnt/data/word
  dd if=/dev/urandom of=/mnt/data/under_load bs=64k count=300 oflag=direct status=none &
  load=$!
  exits 0 "systemctl restart mpathd" systemctl restart mpathd.service
  slow "two paths" paths_of active 2
  wait "$load"
  check "what was being written met no error" test $? -eq 0
  check "the disk of another kind that was taken away did not come back" test "$(disks_of_map)" -eq 1
  rm -f /mnt/data/under_load
  exits 0 "umount" umount /mnt/data
  exits 0 "unexport" mpathctl unexport map data as "$kind"
  rm "/etc/modules-load.d/mpathd-$kind.conf"
}
# Somebody writes until the machine goes down. (Sessions of people and services that use remote file systems end before these.)
keep_busy() {
  systemd-run -q --unit=busy -p After=remote-fs.target -p DefaultDependencies=yes \
    sh -c 'while :; do dd if=/dev/urandom of=/mnt/data/busy bs=64k count=64 conv=notrunc status=none; done'
  sleep 2
  check "somebody is writing" systemctl -q is-active busy.service
}

install_story() {
  local fio pid
  story "the packages under systemd"
  mkdir -p /etc/systemd/system
  # As ifupdown has it: what is configured is taken down when it ends.
  cat > /etc/systemd/system/guest-network.service << 'UNIT'
[Unit]
Description=The network of the guest
DefaultDependencies=no
After=local-fs.target
Before=network.target shutdown.target network-online.target
Wants=network.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for i in 0 1; do ip addr add 10.78.$$i.1/24 dev eth$$i; ip link set eth$$i up; done'
ExecStop=/bin/sh -c 'for i in 0 1; do ip link set eth$$i down; ip addr flush dev eth$$i; done'
[Install]
WantedBy=multi-user.target
UNIT
  systemctl -q enable --now guest-network.service
  exits 0 "dpkg -i mpathd" dpkg -i "$DEBS"/mpathd_*.deb
  slow "mpathd.service runs" systemctl -q is-active mpathd.service
  check "and will at the next boot" systemctl -q is-enabled mpathd.service mpathd.socket
  check "its memory is locked" eval '[ "$(awk "/^VmLck:/ {print \$2}" "/proc/$(main_pid)/status")" -gt 1000 ]'
  printf 'multipaths {\n  multipath {\n    wwid "%s"\n    alias data\n  }\n}\n' "$WWID" >> /etc/mpathd/multipath.conf
  exits 0 "reconfigure" mpathctl reconfigure
  exits 0 "discovery" mpathadm -m discovery -t sendtargets -p 10.78.0.2
  exits 0 "node.startup automatic" mpathadm -m node --op=update -n node.startup -v automatic
  exits 0 "login" mpathadm -m node --loginall=all
  slow "two paths" paths_of active 2
  slow "the map is a disk by its alias, with no word about exports" test -b /dev/mpath/data
  exits 0 "mkfs.ext4" mkfs.ext4 -q -F /dev/mpath/data
  mkdir -p /mnt/data
  echo "$FSTAB=300 0 2" >> /etc/fstab
  systemctl daemon-reload
  slow "its .device unit is there" systemctl -q is-active dev-mpath-data.device
  exits 0 "systemctl start mnt-data.mount" systemctl start mnt-data.mount
  check "it is mounted" is_mounted
  echo kept > /mnt/data/word

  story "mpathd restarted and killed by systemd under load"
  fio --name=load --directory=/mnt/data --size=24M --rw=randwrite --bs=4k --rate_iops=300 --ioengine=libaio --iodepth=8 --direct=1 \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=128 --output="$LAB/fio.log" > /dev/null 2>&1 &
  fio=$!
  sleep 2
  exits 0 "systemctl restart mpathd" systemctl restart mpathd.service
  slow "two paths" paths_of active 2
  pid=$(main_pid)
  check "the load has not ended" alive "$fio"
  exits 0 "kill -9" systemctl kill -s KILL mpathd.service
  slow "another one runs" eval '[ "$(main_pid)" -ne 0 ] && [ "$(main_pid)" -ne '"$pid"' ] && systemctl -q is-active mpathd.service'
  slow "two paths" paths_of active 2
  wait "$fio"
  check "fio had no error and read everything back" test $? -eq 0
  rm -f /mnt/data/load*
  check "it is the same mount" is_mounted

  exits 0 "umount" systemctl stop mnt-data.mount
  exits 0 "unexport" mpathctl unexport map data as nbd
  other_kind tcmu target_core_user tcm_loop
  case $(uname -r) in 6.1.*) ;; *) other_kind ublk ublk_drv ;; esac
  exits 0 "export as nbd again" mpathctl export map data as nbd
  slow "its .device unit is there" systemctl -q is-active dev-mpath-data.device
  exits 0 "mount" systemctl start mnt-data.mount
  check "the kernel has seen no error" eval '! dmesg | grep -E "I/O error|EXT4-fs error"'
  systemd-analyze security mpathd.service 2> /dev/null | tail -1
  keep_busy
}

none_story() {
  story "boot: without a target"
  slow "there is a login prompt" systemctl -q is-active "$PROMPT"
  check "nothing is mounted" eval '! is_mounted'
  check "what failed is the mount and what wants it" eval '! systemctl --failed --plain --no-legend | grep -vE "^(mnt-data.mount|remote-fs.target|dev-mpath-data.device)"'
  check "mpathd goes on trying" systemctl -q is-active mpathd.service
  printf '        prompt %s ms after the kernel began\n' "$(($(microseconds "$PROMPT") / 1000))"
}

case $1 in
  install) install_story ;;
  both) mounted_at_boot "both portals"; slow "two paths" paths_of active 2; keep_busy ;;
  one) mounted_at_boot "one portal is dead"; check "one path" paths_of active 1; keep_busy ;;
  late) mounted_at_boot "the target comes 20 s late"; next_boot_waits 20 ;;
  none) none_story; next_boot_waits 300 ;;
esac
guest_end || { journalctl -b -o short-monotonic --no-pager | tail -150; exit 1; }
