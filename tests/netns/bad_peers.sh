#!/usr/bin/env bash
# Portals that are closed, silent or talk nonsense, and commands that make no sense: the documented exit code and one clear
# line, within the limits that are set. Nothing hangs. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin python3

start_mpathd
make_ifaces > /dev/null
printf 'discovery.sendtargets.timeo.login_timeout = 2\nnode.conn[0].timeo.login_timeout = 2\nnode.session.initial_login_retry_max = 1\ndiscovery.sendtargets.reopen_max = 0\n' \
  > "$MPATHD_ROOT/etc/mpathd/iscsid.conf"
discovery() { timeout 60 nsenter -t "$NS_I" -n -m -- mpathadm -m discovery -t st -p "$1" -I ieth0; }
quick() { # quick SECONDS: what `exits` ran last did not take longer
  check "within $1 s" eval "! passed_seconds $BEGAN $1"
}

# peer WORDS: a listener on port 3260 of the target that accepts and then: silence | garbage | close
peer() {
  start_in "$NS_T" "$LAB/peer.log" python3 -c '
import socket, sys, time
server = socket.create_server(("10.77.0.2", 3260))
keep = []
while True:
    client, _ = server.accept()
    keep.append(client)
    if sys.argv[1] != "silence":
        client.recv(4096)
    if sys.argv[1] == "garbage":
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 64)
    if sys.argv[1] == "close":
        client.close()' "$1"
  PEER=$STARTED
  wait_quietly 10 listening_in_target "$PORTAL0:3260" || die "the peer does not listen"
}

story "nobody listens"
BEGAN=$EPOCHREALTIME
exits 4 "discovery of a closed port" discovery "$PORTAL0"
quick 20

for way in silence garbage close; do
  story "a peer that accepts, then: $way"
  peer "$way"
  BEGAN=$EPOCHREALTIME
  code=0
  discovery "$PORTAL0" > "$LAB/out" 2> "$LAB/err" || code=$?
  check "discovery fails (exit $code)" eval '[ $code -ne 0 ] && [ $code -lt 34 ]'
  check "it says why" test -s "$LAB/err"
  quick 30
  adm -m node -T "$IQN" -p "$PORTAL0" -I ieth0 --op=new > /dev/null 2>&1
  BEGAN=$EPOCHREALTIME
  code=0
  timeout 90 nsenter -t "$NS_I" -n -m -- mpathadm -m node -T "$IQN" -p "$PORTAL0" -I ieth0 --login > "$LAB/out" 2> "$LAB/err" || code=$?
  check "login fails (exit $code)" eval '[ $code -ne 0 ] && [ $code -lt 34 ]'
  quick 60
  end_process "$PEER"
done

story "no such session, record, mode, value"
exits 21 "no session" adm -m session
exits 21 "no such node" adm -m node -T iqn.2026-11.example:none -p 10.77.0.9 --login
exits 7 "an unknown mode" adm -m nonsense
check "mpathd is alive" ctl show daemon
