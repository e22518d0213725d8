#!/usr/bin/env bash
# Other targets, tgtd and istgt, and other clients: the interop suite of the NBD server through a map over two paths to
# tgtd, mutual CHAP with tgtd, and a verifying load on istgt.
# (Topology: lib.sh.)
LAB_TARGET=tgtd
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin tgtd python3

story "the NBD interop suite through a map over two paths"
start_target
start_mpathd
make_map
"$SOURCE_DIR/tests/interop/nbd_suite" "$NBD_SOCKET" > "$LAB/suite.log" 2>&1
code=$?
sed 's/^/        /' "$LAB/suite.log"
check "the suite passes (exit $code)" eval '[ $code -eq 0 ] || [ $code -eq 77 ]'
check "logout of all" adm -m node --logoutall=all

story "mutual CHAP with tgtd"
tgtadm_ main --mode account --op new --user initiator --password initiator-secret
tgtadm_ main --mode account --op new --user target --password target-secret-1
tgtadm_ main --mode account --op bind --tid 1 --user initiator
tgtadm_ main --mode account --op bind --tid 1 --user target --outgoing
exits 24 "login without credentials is refused" adm -m node -I ieth0 --login
for pair in authmethod=CHAP username=initiator password=initiator-secret username_in=target password_in=target-secret-1; do
  adm -m node -I ieth0 --op=update -n "node.session.auth.${pair%%=*}" -v "${pair#*=}" > /dev/null
done
exits 0 "login, and both prove themselves" adm -m node -I ieth0 --login
exits 0 "logout" adm -m node -I ieth0 --logout
stop_target

story "istgt"
if command -v istgt > /dev/null; then
  adm -m node --op=delete > /dev/null 2>&1
  start_istgt
  check "discovery" discover
  check "login" login_all
  wait_until 30 "four paths are active: istgt answers with both portals" paths_are 4 active
  wait_quietly 20 nbd_socket
  exits 0 "a verifying load finds nothing wrong" verify_load --depth 8 --seconds 3 --unix "$NBD_SOCKET"
  grep acknowledged "$LAB/out" | sed 's/^/        /'
else
  echo "      no istgt on this machine: left out"
fi
