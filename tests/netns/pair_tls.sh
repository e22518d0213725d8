#!/usr/bin/env bash
# A pair that is told to encrypt its replication (stream_auth tls), one node after the other while it is used: from then
# on who listens between the nodes sees nothing of what is written, while the pair loses a cable, changes its key, takes
# over and fills a copy as ever.
# (Topology: pair_lib.sh. The replication networks are rep0 and rep1.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo nbdcopy

# What is in force on each link that is up, of both units, as NODE says it
protection_of() {
  pctl "$1" --json cluster status | python3 -c '
import json, sys
print(" ".join(link["auth"] for unit in json.load(sys.stdin)["units"] for link in unit["links"] if link["up"]))'
}
# Both nodes have WORD for so many links.
protected_by() {
  local word=$1 links=$2 node words
  words=$(for ((; links > 0; --links)); do echo "$word"; done | paste -sd ' ')
  for node in a b; do [ "$(protection_of $node)" = "$words" ] || return; done
}
whole_by() { pair_is_whole && protected_by "$1" 4; }
say_tls() { sed -i 's/^  stream_auth .*/  stream_auth tls/' "$LAB/$1/etc/mptarget/mptarget.conf"; }

# What goes over b's replication networks, both ways, as its kernel sees it: into one file.
listen_in() {
  start_in "${NS[b]}" "$LAB/listen.log" python3 -c '
import select, socket, sys
wires = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for nic in sys.argv[2:]]
for wire, nic in zip(wires, sys.argv[2:]):
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
    wire.bind((nic, 0))
with open(sys.argv[1], "wb", buffering=0) as heard:
    print("listening", flush=True)
    while True:
        for wire in select.select(wires, [], [])[0]:
            heard.write(wire.recv(1 << 17))' "$LAB/heard" rep0 rep1
  LISTENER=$STARTED
  wait_quietly 10 grep -q listening "$LAB/listen.log" || { cat "$LAB/listen.log" >&2; die "nobody can listen in"; }
}
stop_listening() { end_process "$LISTENER" TERM; true; }
heard_words() { grep -aoF "$1" "$LAB/heard" | wc -l; }
# What the node that serves has sent of the unit that the load does not use, in bytes
words_sent() {
  pctl "$(who_serves)" --json cluster status | python3 -c '
import json, sys
print(next(unit["sent"] for unit in json.load(sys.stdin)["units"] if unit["lu"] == "plain"))'
}
# write_words WORD: two megabytes of it, to the unit that the load does not use
write_words() {
  yes "$1" | head -c 2M > "$LAB/words"
  in_i nbdcopy "$LAB/words" "nbd+unix:///?socket=$PLAIN_MAP"
}
fresh_word() { echo "in the clear $(fresh_key)"; }

pair_config "stream_auth none"
story "a pair in the clear"
pair_make
pair_login
wait_until 60 "both copies are complete, nothing is protected" whole_by none
wait_quietly 20 map_of_size 16 || die "no map"
PLAIN_MAP=$NBD_SOCKET
wait_quietly 20 map_of_size 64 || die "no map"
start_load --depth 8 --area 32 --rate 1000
listen_in
word=$(fresh_word)
check "words are written" write_words "$word"
wait_until 10 "who listens hears them" eval '[ "$(heard_words "$word")" -gt 1000 ]'
stop_listening

story "one node after the other is told to encrypt"
say_tls b
check "b ends" node_term b
load_mark "b is told"
node_start b
wait_until 60 "both copies are complete: the stronger word counts" whole_by tls
load_goes_on 100
say_tls a
load_mark "a is told"
check "a ends, b takes over" node_term a
load_goes_on 100
node_start a
wait_until 60 "both copies are complete" whole_by tls
pctl a cluster status | grep -A1 '^ *disk' | sed 's/^/        /'

story "nothing of what is written can be read between the nodes"
listen_in
word=$(fresh_word) before=$(words_sent)
check "words are written" write_words "$word"
wait_until 10 "they went by" eval '[ "$(words_sent)" -ge $((before + (2 << 20))) ]'
check "and were not understood" test "$(heard_words "$word")" -eq 0

story "a cable is pulled"
load_mark "a cable"
cable_cut b rep1
wait_until 20 "both nodes see that the link is lost" protected_by tls 2
load_goes_on 200
check "both copies stay complete" pair_is_whole
cable_mend b rep1
wait_until 30 "the link has joined again, encrypted" protected_by tls 4

story "the key is changed"
old=$(cat "$LAB/key") new=$(fresh_key)
check "the new one is accepted" new_keys "$old" "$new"
# A link that is made while the nodes offer one key and accept two.
load_mark "between two keys"
cable_cut b rep0
wait_until 20 "a link is lost" protected_by tls 2
cable_mend b rep0
wait_until 30 "and joins again" protected_by tls 4
check "the new one is used" new_keys "$new" "$old"
check "the old one is taken away" new_keys "$new"
load_mark "another key"
cable_cut b rep0
wait_until 20 "a link is lost" protected_by tls 2
cable_mend b rep0
wait_until 30 "and joins with the new one" protected_by tls 4

story "the node that serves is killed, and filled"
serving=$(who_serves) other=$(other_node "$(who_serves)")
load_mark "takeover"
node_kill "$serving"
wait_until 30 "the other one takes over" serves "$other"
load_goes_on 100
word=$(fresh_word)
check "words are written that it lacks" write_words "$word"
before=$(words_sent)
node_start "$serving"
wait_until 60 "both copies are complete" whole_by tls
wait_until 10 "the words went by" eval '[ "$(words_sent)" -ge $((before + (2 << 20))) ]'
stop_listening
check "nothing that was written was heard" test "$(heard_words "in the clear")" -eq 0
check "and much was" test "$(stat -c %s "$LAB/heard")" -gt $((4 << 20))

story "the result"
check "the load ends well: every acknowledged write is read back" stop_load
check "no request was answered with an error" test "$(load_result errors)" -eq 0
node_term "$serving"
node_term "$other"
check "the copies are equal" same_disks
check "mpathd ends when told to" stop_mpathd
