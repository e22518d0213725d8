#!/usr/bin/env bash
# What the guest of kernel_disks does: mptargetd in a namespace, mpathd in the guest's first one with a path over each of two
# NICs, and a story for each kind of disk. (Topology: ../netns/lib.sh; the initiator's namespace is the guest itself.)
here=$(cd "$(dirname "$0")" && pwd)
LAB_POLL=0.3
. "$here/guest_lib.sh"
. "$here/guest_disks_lib.sh"
LAB_INITIATOR_PID=$$
lab_begin mpathd mptargetd fio mkfs.ext4 mkfs.xfs sfdisk
# The machine ends with the story, and everything in it.
lab_clean() { :; }
# Here mpathd is the machine's own: its udev rules have its paths in them.
export MPATHD_ROOT=/
mkdir -p /etc/mpathd /run/udev/rules.d
cp "$here/../../packaging/udev/60-mpathd.rules" /run/udev/rules.d/
/lib/systemd/systemd-udevd --daemon 2> /dev/null

story "a map over two paths"
printf 'defaults {\n  export nbd-socket\n  user_friendly_names yes\n}\n' > /etc/mpathd/multipath.conf
# xfs wants 300 MiB at least.
disk_config "$LAB/disk.img" | sed 's/256M/384M/' | target_config main
start_mptargetd main
start_mpathd
make_map
MAP=$(ctl show maps raw format "%n")
WWID=$(ctl show maps raw format "%w")
check "its socket is there" test -S "/run/mpathd/nbd/$MAP.sock"
check "its memory is locked: it must not wait for what is written out to its own disk" \
  eval '[ "$(awk "/^VmLck:/ {print \$2}" /proc/$MPATHD_PID/status)" -gt 1000 ]'
for each in "$@"; do . "$here/guest_$each.sh"; done
check "mpathd ends when told to" stop_mpathd
