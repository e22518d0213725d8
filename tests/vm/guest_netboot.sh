#!/usr/bin/env bash
# What the guest of netboot does once multi-user.target is reached: guest_netboot.sh STORY. After it the machine shuts down.
#   ROOT_WWID: of the disk that / is on
here=$(cd "$(dirname "$0")" && pwd)
LAB_POLL=0.3
. "$here/guest_lib.sh"
LAB=/run/lab
mkdir -p "$LAB"
PATH=/usr/sbin:/usr/bin:/sbin:/bin   # what the package brought
for port in /sys/class/virtio-ports/*; do
  [ "$(cat "$port/name" 2> /dev/null)" != host ] || exec {HOST_PORT}<> "/dev/${port##*/}"
done
slow() { wait_until $((36 * ${LAB_STRETCH:-1})) "$@"; }
PLACE=/run/initramfs/mpathd
rctl() { mpathctl --root "$PLACE" "$@"; }
root_paths() { [ "$(rctl show paths raw format "%t" 2> /dev/null | grep -c "^$1")" -eq "$2" ]; }
root_pid() { cat "$PLACE/run/mpathd/mpathd.lock"; }
own_sessions() { [ "$(mpathadm -m session 2> /dev/null | wc -l)" -eq "$1" ]; }
reads_back() { sync && echo 3 > /proc/sys/vm/drop_caches && sha256sum --quiet -c /var/tmp/sums; }
# Files of 1 MiB each, synchronised, with their checksums beside them.
write_files() {
  local i
  for ((i = 0; i < $2; ++i)); do
    head -c 1M /dev/urandom > "/var/tmp/$1.$i" && sync "/var/tmp/$1.$i" && sha256sum "/var/tmp/$1.$i" >> /var/tmp/sums || return
  done
}
no_complaint() { ! dmesg | grep -E "I/O error|EXT4-fs error|Remounting filesystem read-only"; }

booted() {
  story "booted: $1"
  check "/ is on a disk of mpathd" grep -qx "mpathd-root:$ROOT_WWID" "/sys/dev/block/$(mountpoint -d /)/backend"
  check "it can be written to" touch /var/tmp/here
  check "it has its name, too" test "$(stat -L -c %t:%T /dev/mpath/root)" = "$(printf '%x:%x' $(mountpoint -d / | tr : ' '))"
  check "what serves it is a root storage daemon, and its guard is" eval '[ "$(grep -lz "^@usr/sbin/mpathd" /proc/[0-9]*/cmdline | wc -l)" -eq 2 ]'
  check "neither is chosen when memory is short" eval '[ "$(cat $(grep -lz "^@usr/sbin/mpathd" /proc/[0-9]*/cmdline | sed s/cmdline/oom_score_adj/) | sort -u)" = -1000 ]'
  check "its memory is locked" eval '[ "$(awk "/^VmLck:/ {print \$2}" "/proc/$(root_pid)/status")" -gt 1000 ]'
  check "nobody said that a file of it is not there" no_complaint
  check "no unit failed" eval '[ -z "$(systemctl --failed --plain --no-legend | tee /dev/stderr)" ]'
}

path_cut() {
  local writer
  story "a path cut while it is in use"
  write_files cut 12 &
  writer=$!
  host link v0 down
  slow "one path has failed" root_paths failed 1
  slow "the other carries on" root_paths active 1
  exits 0 "a file written over the other" write_files one 1
  wait "$writer"
  check "nobody who wrote was told of an error" test $? -eq 0
  host link v0 up
  slow "two paths again" root_paths active 2
  check "everything reads back" reads_back
}

killed() {
  local pid
  story "its daemon killed"
  pid=$(root_pid)
  kill -TERM "$pid"
  exits 1 "mpathctl shutdown" rctl shutdown
  check "a signal to end and the command change nothing" test "$(root_pid)" = "$pid"
  kill -KILL "$pid"
  exits 0 "files written meanwhile" write_files killed 4
  check "another one serves" eval '[ "$(root_pid)" != '"$pid"' ]'
  slow "two paths" root_paths active 2
  check "everything reads back" reads_back
  check "the kernel's log has it" eval 'dmesg | grep "mpathd: the mpathd of the root file system has ended signal=9"'
  check "nobody was told of an error" no_complaint
}

beside() {
  story "the installed mpathd beside it, with the same records"
  check "it runs" systemctl -q is-active mpathd.service
  check "and knows nothing of root's sessions" own_sessions 0
  exits 0 "its login to what the firmware says" mpathadm -m fw -l
  slow "it has two sessions" own_sessions 2
  slow "it has the other disk" test -b /dev/mpath/other
  check "which root's leaves alone" eval '! rctl show maps raw format "%n" | grep other'
  slow "the target has four sessions at a time" host sessions 4
  exits 1 "no second disk for the data of root" mpathctl export map root as nbd
  check "it says why" grep -q "already, by the mpathd of the root file system" "$LAB/out" "$LAB/err"
  check "there is one" eval '[ "$(cat /sys/block/nbd*/backend 2> /dev/null | grep -c "$ROOT_WWID")" -eq 1 ]'
  mke2fs -q -F -t ext4 /dev/mpath/other && mount /dev/mpath/other /mnt
  check "the other disk is used" eval 'echo word > /mnt/word && sync /mnt/word'
  umount /mnt
  exits 0 "it logs out of everything" mpathadm -m node -u
  slow "root has its two paths" root_paths active 2
  exits 0 "it is restarted" systemctl restart mpathd.service
  exits 0 "and stopped" systemctl stop mpathd.service mpathd.socket
  slow "root has its two paths" root_paths active 2
  check "nobody has logged its sessions out" eval '! dmesg | grep "mpathd: session .*reason=logged_out"'
  check "everything reads back" reads_back
  systemctl start mpathd.socket mpathd.service
}

case $1 in
  both) booted "both portals"; slow "two paths" root_paths active 2; path_cut; killed; beside ;;
  nic) booted "the first NIC is dead"; slow "one path" root_paths active 1; exits 0 "files written" write_files dead 2
    host link v0 up; slow "the other path comes when its NIC does" root_paths active 2
    check "everything reads back" reads_back ;;
  portal) booted "the first portal is silent"; slow "one path" root_paths active 1
    exits 0 "files written" write_files portal 2; check "everything reads back" reads_back ;;
  vlan) booted "the second NIC in a VLAN, of which nobody else knows"; slow "one path" root_paths active 1
    check "the VLAN has the address that the firmware says" eval 'ip -d link show dev ibft1.5 | grep -q "vlan protocol 802.1Q id 5" && ip -4 addr show dev ibft1.5 | grep -q 10.78.1.1/24'
    # Tried over the NIC below, it would be looked for there.
    slow "the second session is tried over it" eval 'ip neigh show dev ibft1.5 | grep "^10.78.1.2 "' ;;
esac
# Somebody writes until the end.
systemd-run -q --unit=busy /bin/sh -c 'while :; do dd if=/dev/urandom of=/var/tmp/busy bs=64k count=16 conv=notrunc status=none; done'
sleep 1
check "somebody is writing" systemctl -q is-active busy.service
guest_end || { dmesg | grep mpathd: | tail -60; journalctl -b -o short-monotonic --no-pager 2> /dev/null | tail -80; exit 1; }
