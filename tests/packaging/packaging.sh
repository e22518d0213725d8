#!/usr/bin/env bash
# packaging.sh BUILD: installs into a scratch folder and looks at it.
set -u
build=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/mpath-packaging.XXXXXX")
trap 'rm -rf "$work"' EXIT
wrong=0
fail() { echo "FAIL  $*"; wrong=1; }

DESTDIR=$work cmake --install "$build" > "$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
prefix=$work$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
for file in sbin/{mpathd,mpathadm,mpathctl,mptargetd,mptargetctl} lib/systemd/system/{mpathd.{service,socket},mptargetd.service,mptarget-witness.service} \
  share/man/man8/{mpathd,mpathadm,mpathctl,mptargetd,mptargetctl}.8 share/man/man5/{iscsid,multipath,mptarget}.conf.5 \
  lib/udev/rules.d/60-mpathd.rules share/doc/mpathd/examples/{iscsid,multipath}.conf share/doc/mptarget/examples/mptarget.conf; do
  [ -e "$prefix/$file" ] && echo "ok    $file" || fail "$file is not installed"
done

check() { local what=$1; shift; if "$@" > /dev/null 2>&1; then echo "ok    $what"; else fail "$what"; fi; }
check "the units name programs where they were installed" grep -qx "ExecStart=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")/sbin/mpathd" \
  "$prefix/lib/systemd/system/mpathd.service"
check "nothing goes to /etc but by a package" test ! -e "$work/etc"

# The samples are read without a complaint, and show the defaults: what is in force is the same without them.
settings() {
  local root=$1 pid
  "$prefix/sbin/mpathd" --root "$root" > "$root.log" 2>&1 & pid=$!
  for _ in $(seq 500); do "$prefix/sbin/mpathctl" --root "$root" show daemon > /dev/null 2>&1 && break; sleep 0.02; done
  "$prefix/sbin/mpathctl" --root "$root" show config
  kill "$pid"; wait "$pid"
}
mkdir -p "$work"/{plain,sample}/etc/mpathd
cp "$prefix"/share/doc/mpathd/examples/{iscsid,multipath}.conf "$work/sample/etc/mpathd/"
settings "$work/plain" > "$work/plain.config"
settings "$work/sample" > "$work/sample.config"
if grep -E 'warning|error' "$work/sample.log"; then fail "the samples are complained about"; else echo "ok    the samples are accepted"; fi
if [ -s "$work/plain.config" ] && diff "$work/plain.config" "$work/sample.config"; then echo "ok    the samples show the defaults"; else fail "the samples change something"; fi

# The same of the target's.
"$prefix/sbin/mptargetd" --root "$work/plain" --check-config > "$work/target.plain" 2>&1 || fail "mptargetd refuses an empty configuration"
if "$prefix/sbin/mptargetd" --root "$work/plain" --config "$prefix/share/doc/mptarget/examples/mptarget.conf" --check-config \
  > "$work/target.sample" 2>&1 && diff "$work/target.plain" "$work/target.sample"; then
  echo "ok    the target's sample shows the defaults"
else
  fail "the target's sample is refused, or changes something"
fi

if command -v systemd-analyze > /dev/null; then
  mkdir -p "$work/units"
  cp "$prefix"/lib/systemd/system/mp* "$work/units/"
  sed -i "s,^ExecStart=[^ ]*,ExecStart=$prefix/sbin/mptargetd," "$work/units/mptarget-witness.service"
  for unit in mpathd mptargetd; do sed -i "s,^ExecStart=[^ ]*,ExecStart=$prefix/sbin/$unit," "$work/units/$unit.service"; done
  sed -i '/^Documentation=/d' "$work/units"/*   # the pages are not installed here
  if systemd-analyze verify "$work"/units/{mpathd.service,mpathd.socket,mptargetd.service,mptarget-witness.service} > "$work/verify.log" 2>&1 && [ ! -s "$work/verify.log" ]; then
    echo "ok    systemd accepts the units"
  else
    cat "$work/verify.log"; fail "systemd-analyze complains"
  fi
else
  echo "no systemd-analyze: the units were not checked"
fi
exit $wrong
