#!/usr/bin/env bash
# The laboratory of the pair is what it says: who hears whom when cables are out, switches off, or one direction is cut.
# (Topology: pair_lib.sh.) Every place listens; a word that was sent and must not arrive is followed by one that must.
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
pair_begin python3 ip

cat > "$LAB/ear.py" << 'PYTHON'
import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("0.0.0.0", 9999))
with open(sys.argv[1], "a", buffering=1) as heard:
    print("listening", file=heard)
    while True:
        print(ear.recv(100).decode(), file=heard)
PYTHON
for node in i a b w; do start_in "${NS[$node]}" "$LAB/ear.$node.err" python3 "$LAB/ear.py" "$LAB/heard.$node"; done
for node in i a b w; do wait_quietly 20 grep -q listening "$LAB/heard.$node" || die "no ear at $node"; done

WORD=0
# say FROM TO NET: one datagram, without waiting for anything; WORD is what it says
say() {
  WORD=$((WORD + 1))
  in_node "$1" bash -c "printf 'word $WORD' > /dev/udp/$(address_of "$2" "$3")/9999" 2> /dev/null
}
arrived() { grep -qx "word $WORD" "$LAB/heard.$1"; }
say_and_look() { say "$@"; arrived "$2"; }
hears() { wait_quietly 20 say_and_look "$2" "$1" "$3"; }   # TO FROM NET: it may take a moment of ARP
# Neither this word nor what ARP may have kept back of it.
deaf() {
  say "$2" "$1" "$3"
  local lost=$WORD
  hears "$1" "$2" "$4" && ! grep -qx "word $lost" "$LAB/heard.$1"   # on another network, after it
}
all_hear() {
  local net from to
  for net in "${NETS[@]}"; do
    for from in ${NET_MEMBERS[$net]}; do
      for to in ${NET_MEMBERS[$net]}; do
        [ "$from" = "$to" ] || hears "$to" "$from" "$net" || { echo "$to does not hear $from on $net"; return 1; }
      done
    done
  done
}
carrier() { [ "$(in_node "$1" cat "/sys/class/net/$(nic_of "$1" "$2")/carrier")" = 1 ]; }

check "everybody hears everybody on every network" all_hear

story "a cable"
cable_cut a rep0
check "its end sees that it is out" eval '! carrier a rep0'
check "the others' do not" eval 'carrier b rep0 && carrier w rep0 && carrier a rep1'
check "nothing comes, nothing goes" eval 'deaf b a rep0 rep1 && deaf a b rep0 rep1'
check "others of that network hear each other" eval 'hears w b rep0 && hears b w rep0'
cable_mend a rep0
check "mended" all_hear

story "a switch"
switch_off svc0
check "every end sees it" eval '! carrier i svc0 && ! carrier a svc0 && ! carrier b svc0'
check "nobody hears anybody there" eval 'deaf a i svc0 svc1 && deaf i b svc0 svc1'
switch_on svc0
check "back on" all_hear

story "one direction"
one_way_cut a b rep0
check "b does not hear a" deaf b a rep0 rep1
check "a hears b still, as the neighbours know each other" hears a b rep0
check "w hears a, and no cable is out" eval 'hears w a rep0 && carrier a rep0 && carrier b rep0'
cuts_mend
check "mended" all_hear

story "parted"
parted a b rep0 rep1
check "neither hears the other, on either network" eval 'deaf b a rep0 svc0 && deaf a b rep1 svc0 && deaf b a rep1 svc0'
check "both hear the witness" eval 'hears a w rep0 && hears w b rep1'
everything_mended
check "mended" all_hear

story "a common path, and disks of each node's own"
in_node a sh -c "echo of a > '$LAB/disks/mark'"
in_node b sh -c "echo of b > '$LAB/disks/mark'"
check "neither sees the other's" eval '[ "$(cat "$LAB/a/disks/mark")" = "of a" ] && [ "$(in_node b cat "$LAB/disks/mark")" = "of b" ]'
pair_config "initdead 10s"
check "both read the same file" cmp "$LAB/a/etc/mptarget/mptarget.conf" "$LAB/b/etc/mptarget/mptarget.conf"
for node in a b; do
  check "mptargetd finds it good as node $node" in_node "$node" mptargetd --root "$LAB/$node" --node "$node" --check-config
done

story "a process that stands still, and one that is killed"
start_in "${NS[a]}" "$LAB/sleeper.log" sleep infinity
NODE_PID[a]=$STARTED
state_is() { grep -q "^State:.$1" "/proc/${NODE_PID[a]}/status"; }
node_freeze a
wait_until 10 "it stands" state_is T
node_thaw a
wait_until 10 "it goes on" state_is S
before=${#LAB_PIDS[@]}
check "killed" node_kill a
check "its number is kept no longer" test "${#LAB_PIDS[@]}" -eq $((before - 1)) -a -z "${NODE_PID[a]}"
