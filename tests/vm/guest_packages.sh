#!/usr/bin/env bash
# What the guest of packages does: the Debian packages from the first installation to purge. No systemd runs here: scripts
# of packages must be content with that (tests/vm/boot has them under systemd).
#   DEBS: where the packages are
here=$(cd "$(dirname "$0")" && pwd)
LAB_POLL=0.3
. "$here/guest_lib.sh"
LAB=/tmp/lab
mkdir -p "$LAB"
# What is tested is what the packages bring.
PATH=${PATH#"$BIN":}
PLACES="/etc /run /usr/sbin /usr/lib/systemd /usr/lib/udev /usr/share/initramfs-tools /usr/share/doc /usr/share/man /var/lib /var/log"
# shellcheck disable=SC2086
traces() { find $PLACES -path /var/lib/dpkg -prune -o \( -name '*mpathd*' -o -name '*mpathadm*' -o -name '*mpathctl*' -o -name '*mptarget*' \) -print; }
install_packages() { local each files=(); for each in "$@"; do files+=("$DEBS/$each"_*.deb); done; dpkg -i "${files[@]}"; }
status_of() { dpkg-query -W -f '${db:Status-Status}\n' "$1"; }

rm -rf /etc/mpathd /etc/mptarget /var/lib/mpathd /var/lib/mptarget /run/mpathd
check "nothing of it is here yet" eval '[ -z "$(traces | tee /dev/stderr)" ]'

story "installed"
exits 0 "dpkg -i mpathd mptarget" install_packages mpathd mptarget
check "dpkg finds nothing changed" eval '[ -z "$(dpkg --verify mpathd mptarget | tee /dev/stderr)" ]'
for unit in multi-user.target.wants/mpathd.service remote-fs-pre.target.wants/mpathd.service sockets.target.wants/mpathd.socket \
  multi-user.target.wants/mptargetd.service; do
  check "enabled: $unit" test -e "/etc/systemd/system/$unit"
done
check "the witness waits for somebody who wants one" test ! -e /etc/systemd/system/multi-user.target.wants/mptarget-witness.service
check "a file that may hold secrets is root's alone" test "$(stat -c '%a %U' /etc/mpathd/iscsid.conf)" = "600 root"
check "the pages are found" man -w mpathd mpathadm mpathctl mptargetd mptargetctl iscsid.conf multipath.conf mptarget.conf
exits 0 "mptargetd --check-config" mptargetd --check-config
mpathd > "$LAB/mpathd.log" 2>&1 &
MPATHD_PID=$!
wait_until 60 "mpathd starts and answers" mpathctl show daemon
check "it is the package's" test "$(readlink "/proc/$MPATHD_PID/exe")" = /usr/sbin/mpathd
check "it complains of nothing" eval '! grep -E "<[0-4]>" "$LAB/mpathd.log"'
mptargetd > "$LAB/mptargetd.log" 2>&1 &
MPTARGETD_PID=$!
wait_until 60 "mptargetd starts and answers" mptargetctl show targets

check "what puts it into an initramfs is there" test -x /usr/share/initramfs-tools/hooks/mpathd -a -x /usr/share/initramfs-tools/scripts/local-top/mpathd
touch /etc/mpathd/mpathd.initramfs

story "under the names that scripts know"
exits 1 "not beside open-iscsi and multipath-tools" install_packages mpathd-compat
check "which are untouched" eval 'status_of open-iscsi && [ ! -L /usr/sbin/iscsiadm ]'
# Their own scripts take minutes here: they stay, overruled.
exits 0 "in their place" dpkg --force-conflicts --force-overwrite -i "$DEBS"/mpathd-compat_*.deb
exits 21 "iscsiadm -m node: no records" iscsiadm -m node
exits 0 "multipath -ll" multipath -ll
exits 0 "multipathd show paths" multipathd show paths

story "installed once more"
echo "# a word of the administrator" >> /etc/mpathd/multipath.conf
systemctl disable mpathd.service > "$LAB/disable.log" 2>&1
exits 0 "dpkg -i mpathd" install_packages mpathd
check "what was changed stays" grep -q "a word of the administrator" /etc/mpathd/multipath.conf
check "what was disabled stays disabled" test ! -e /etc/systemd/system/multi-user.target.wants/mpathd.service
end_process "$MPATHD_PID" TERM
end_process "$MPTARGETD_PID" TERM

story "removed"
mkdir -p /etc/mptarget /var/lib/mptarget/lu
echo "# somebody's" > /etc/mptarget/mptarget.conf
exits 0 "dpkg -r" dpkg --force-depends -r mpathd-compat mpathd mptarget
check "programs and units are gone" eval '! ls /usr/sbin/mp{athd,athadm,athctl,targetd,targetctl} /usr/lib/systemd/system/mp{athd,target}* 2> /dev/null'
for file in /etc/mpathd/multipath.conf /etc/mpathd/initiatorname.iscsi /etc/mptarget/mptarget.conf /var/lib/mpathd/mpathd.sqlite /var/lib/mptarget/lu; do
  check "kept: $file" test -e "$file"
done

story "purged"
exits 0 "dpkg -P" dpkg -P mpathd mptarget
check "dpkg does not know them any more" eval '! status_of mpathd && ! status_of mptarget'
check "nothing is left but what somebody wrote" test "$(traces | sort | tr '\n' ' ')" = "/etc/mptarget /etc/mptarget/mptarget.conf "
traces
guest_end || { show_logs; exit 1; }
