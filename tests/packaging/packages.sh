#!/usr/bin/env bash
# packages.sh BUILD: makes the Debian packages and looks into them with dpkg-deb. (Installed they are by tests/vm/packages.)
set -u
build=$1
for tool in cpack dpkg-deb dpkg-shlibdeps; do command -v "$tool" > /dev/null || { echo "skipped: no $tool"; exit 77; }; done
work=$(mktemp -d "${TMPDIR:-/tmp}/mpath-packages.XXXXXX")
trap 'rm -rf "$work"' EXIT
wrong=0
check() { local what=$1; shift; if "$@" > "$work/said" 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; cat "$work/said"; wrong=1; fi; }

(cd "$build" && cpack -G DEB -B "$work") > "$work/cpack.log" 2>&1 || { cat "$work/cpack.log"; exit 1; }
version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")-1
arch=$(dpkg --print-architecture)
debs=("mpathd_${version}_$arch" "mptarget_${version}_$arch" "mpathd-compat_${version}_all")
for deb in "${debs[@]}"; do check "$deb.deb" test -s "$work/$deb.deb"; done
[ $wrong -eq 0 ] || exit 1

# field PACKAGE NAME; holds PACKAGE TEXT: a line of its list of files, without the date
field() { dpkg-deb -f "$work/$1"_*.deb "$2"; }
for deb in "${debs[@]}"; do
  package=${deb%%_*}
  dpkg-deb -c "$work/$deb.deb" | awk '{printf "%s %s", $1, $2; for (i = 6; i <= NF; ++i) printf " %s", $i; print ""}' > "$work/$package.list"
  dpkg-deb -e "$work/$deb.deb" "$work/$package.control"
  check "$package: all of it is root's" eval '! grep -v " root/root " "$work/$package.list"'
  check "$package: nothing outside of /usr and /etc" eval '! grep -vE " \./(usr|etc)/" "$work/$package.list"'
  check "$package: a copyright" grep -q "/usr/share/doc/$package/copyright$" "$work/$package.list"
  check "$package: a summary of its own" eval '[ "$(field $package Description | head -1)" != "" ] && ! field $package Description | head -1 | grep -q "User-space iSCSI initiator with"'
done
holds() { check "$1: $2" grep -qxF -- "$2" "$work/$1.list"; }
program="-rwxr-xr-x root/root ./usr/sbin"
text="-rw-r--r-- root/root ./usr"
for each in mpathd mpathadm mpathctl; do holds mpathd "$program/$each"; holds mpathd "$text/share/man/man8/$each.8"; done
for each in mptargetd mptargetctl; do holds mptarget "$program/$each"; holds mptarget "$text/share/man/man8/$each.8"; done
for each in mpathd.service mpathd.socket; do holds mpathd "$text/lib/systemd/system/$each"; done
for each in mptargetd.service mptarget-witness.service; do holds mptarget "$text/lib/systemd/system/$each"; done
holds mpathd "$text/lib/udev/rules.d/60-mpathd.rules"
for each in iscsid multipath; do
  holds mpathd "-rw------- root/root ./etc/mpathd/$each.conf"   # there may be secrets in it
  holds mpathd "$text/share/doc/mpathd/examples/$each.conf"
  holds mpathd "$text/share/man/man5/$each.conf.5"
done
holds mptarget "$text/share/doc/mptarget/examples/mptarget.conf"
holds mptarget "$text/share/man/man5/mptarget.conf.5"
check "mptarget: nothing in /etc" eval '! grep " ./etc" "$work/mptarget.list"'
check "mpathd: its configuration is dpkg's to keep" diff "$work/mpathd.control/conffiles" <(printf '/etc/mpathd/%s.conf\n' iscsid multipath)
for each in "iscsiadm mpathadm" "multipath mpathctl" "multipathd mpathctl"; do
  holds mpathd-compat "lrwxrwxrwx root/root ./usr/sbin/${each% *} -> ${each#* }"
  holds mpathd-compat "lrwxrwxrwx root/root ./usr/share/man/man8/${each% *}.8 -> ${each#* }.8"
done
check "mpathd-compat: not beside what it stands in for" test "$(field mpathd-compat Conflicts)" = "open-iscsi, multipath-tools"
# With Replaces dpkg would remove those without a question, whatever runs on them.
check "mpathd-compat: does not take their place unasked" test -z "$(field mpathd-compat Replaces)"
check "mpathd-compat: needs mpathd" test "$(field mpathd-compat Depends)" = "mpathd (>= ${version%-1})"
check "mpathd-compat: no scripts" eval '! ls "$work"/mpathd-compat.control/p*'

for package in mpathd mptarget; do
  check "$package: needs the libraries it is linked with" eval 'field $package Depends | grep -q "libc6 (>= .*libstdc++6 (>= "'
  for script in postinst prerm postrm; do
    check "$package: $script is a program and its shell understands it" eval '[ -x "$work/$package.control/$script" ] && sh -n "$work/$package.control/$script"'
    check "$package: nothing in $script was left to be filled in" eval '! grep "@[A-Z]" "$work/$package.control/$script"'
  done
  dpkg-deb -x "$work/${package}_"*.deb "$work/$package.files"
  check "$package: the units start what is in the package" eval '! grep -h ^ExecStart= "$work/$package.files"/usr/lib/systemd/system/*.service | grep -v "^ExecStart=/usr/sbin/mp"'
  check "$package: the programs are stripped" eval '! readelf -S "$work/$package.files"/usr/sbin/* | grep -F .debug_info'
done
exit $wrong
