#!/usr/bin/env bash
# What administrators say to the pair while it is used: switchover on either node, maintenance, standby, another key. No
# request is answered with an error meanwhile, and every acknowledged write is read back. (Topology: pair_lib.sh.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo

pair_config
story "two empty nodes and a witness become a pair"
pair_make
wait_until 60 "the first sync is done" pair_is_whole
pair_load

story "switchover, said on either node"
check "said on the one that serves" pctl a cluster switchover
wait_until 30 "b serves" serves b
wait_until 30 "both copies are complete" pair_is_whole
check "said on b, which serves" pctl b cluster switchover
wait_until 30 "both copies are complete, a serves" eval 'pair_is_whole && serves a'
check "said on b, which does not" pctl b cluster switchover
check "b serves when the command is back" serves b
wait_until 30 "both copies are complete" pair_is_whole

story "maintenance"
check "on, said on the node that does not serve" pctl a cluster maintenance on
wait_until 10 "the other knows" status_has b "in maintenance: no takeover by itself"
check "what-if knows" eval 'pctl a what-if node-b-dies | grep -q "maintenance is on"'
load_goes_on 50
node_kill b
wait_until 30 "a says what it waits for" status_has a "an administrator"
load_mark "b is down"
sleep $((2 * STRETCH))
check "a does not take over" eval '! serves a'
check "nothing was answered meanwhile" load_is since_mark 0
check "off" pctl a cluster maintenance off
wait_until 30 "a serves" serves a
load_goes_on 100
node_start b
wait_until 60 "both copies are complete" pair_is_whole

story "standby"
check "on, said on the node that serves" pctl a cluster standby on
wait_until 10 "b serves" serves b
wait_until 10 "b knows" status_has b "node a stands by"
load_goes_on 100
check "the copies go on" pair_is_whole
node_kill b
node_start b
wait_until 60 "b serves again, a did not take over" serves b
check "off" pctl a cluster standby off
wait_until 60 "both copies are complete" pair_is_whole
node_kill b
wait_until 30 "a takes over again" serves a
load_goes_on 100
check "standby of a node that nobody can relieve is refused" eval '! pctl a cluster standby on'
check "and it goes on to serve" serves a
node_start b
wait_until 60 "both copies are complete" pair_is_whole

story "the unit grows, on one node after the other"
grow() { sed -i '/^lu disk {/,/^}/s/^  size .*/  size 96M/' "$LAB/$1/etc/mptarget/mptarget.conf"; }
size_is() { [ "$(in_i nbdinfo --size "nbd+unix:///?socket=$NBD_SOCKET")" = "$(($1 << 20))" ]; }
grow b
check "b ends in order" node_term b
node_start b
wait_until 30 "nothing is copied, and it is said why" status_has a "lu disk has 67108864 bytes"
load_goes_on 50
check "what initiators see is as large as before" size_is 64
grow a
check "a ends in order" node_term a
node_start a
wait_until 60 "both copies are complete, a serves" eval 'pair_is_whole && serves a'
load_goes_on 100
check "resize map" ctl resize map "$(basename "$NBD_SOCKET" .sock)"
wait_until 30 "the map has grown" size_is 96

story "the key is changed while all runs"
old=$(cat "$LAB/key")
new=$(fresh_key)
stream_sockets() { in_node a ss -Hnt state established '( sport = :7788 or dport = :7788 )' | awk '{ print $3, $4 }' | sort; }
wait_until 30 "all links are up" all_links_up
before=$(view_number a) sockets=$(stream_sockets)
check "the new one is accepted" new_keys "$old" "$new"
check "the new one is used" new_keys "$new" "$old"
check "the old one is taken away" new_keys "$new"
check "the view is the same" test "$(view_number a)" = "$before"
check "so are the connections" test "$(stream_sockets)" = "$sockets"
check "nothing new is said so" eval 'pctl a reload > "$LAB/reload.log" && ! grep -q "keys" "$LAB/reload.log"'
check "a file that is no key changes nothing" eval 'echo short > "$LAB/key"; ! pctl a reload 2> "$LAB/refused" && grep -q "stay as they are" "$LAB/refused"'
echo "$new" > "$LAB/key"
check "and the pair goes on" writes_are_answered

story "a node with the old key only"
refused_by() { pctl "$1" --json cluster status | python3 -c '
import json, sys
print(sum(link["refused"] for link in json.load(sys.stdin)["links"] if link["to"] == sys.argv[1]))' "$2"; }
hears_nobody() { pctl b --json cluster status | python3 -c '
import json, sys
sys.exit(any(link["heard"] for link in json.load(sys.stdin)["links"]))'; }
node_kill b
(umask 077 && echo "$old" > "$LAB/b/key")
sed -i "s|key_file .*|key_file $LAB/b/key|" "$LAB/b/etc/mptarget/mptarget.conf"
seen=$(refused_by a b)
node_start b
wait_until 30 "what it says is refused" eval '[ "$(refused_by a b)" -ge $((seen + 50)) ]'
check "it hears nobody" hears_nobody
check "nothing is copied to it" eval '! is_whole a'
load_mark "an old key"
load_goes_on 50
echo "$new" > "$LAB/b/key"
check "it reads the new one" eval 'pctl b reload > "$LAB/reload.log" && grep -q "the keys of the pair" "$LAB/reload.log"'
wait_until 60 "and belongs to the pair again, without a restart: both copies are complete" pair_is_whole

story "the result"
load_ends_well
check "mpathd ends when told to" stop_mpathd
