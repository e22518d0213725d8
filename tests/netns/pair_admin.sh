#!/usr/bin/env bash
# What administrators say to the pair while it is used: switchover on either node, maintenance, standby. No request is
# answered with an error meanwhile, and every acknowledged write is read back. (Topology: pair_lib.sh.)
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
check "b serves when the command is back" serves b
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

story "the result"
load_ends_well
check "mpathd ends when told to" stop_mpathd
