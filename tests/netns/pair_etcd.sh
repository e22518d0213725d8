#!/usr/bin/env bash
# The pair with its third vote in etcd instead of a witness. (Topology: pair_lib.sh; etcd stands where the witness does.)
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo etcd

ETCD=$(address_of w rep0)
etcd_start() {
  start_in "${NS[w]}" "$LAB/etcd.log" etcd --data-dir "$LAB/w/etcd" --logger zap --log-outputs stderr \
    --listen-client-urls "http://$ETCD:2379" --advertise-client-urls "http://$ETCD:2379" \
    --listen-peer-urls "http://$ETCD:2380" --initial-advertise-peer-urls "http://$ETCD:2380" \
    --initial-cluster "default=http://$ETCD:2380"
  NODE_PID[w]=$STARTED
}

pair_config
sed -i "s|^  witness .*|  witness etcd://$ETCD:2379|" "$LAB"/{a,b}/etc/mptarget/mptarget.conf
story "two empty nodes and an etcd become a pair"
etcd_start
nodes_start a b
check "a begins" pctl a cluster init --yes
wait_until 20 "a serves" serves a
check "b joins" pctl b cluster join --yes
wait_until 60 "the first sync is done" pair_is_whole
wait_until 20 "both hear etcd" eval 'status_has a "witness     heard" && status_has b "witness     heard"'
pair_load

story "the node that serves is killed"
load_mark "killed"
node_kill a
wait_until 30 "b serves" serves b
load_goes_on 100 60
node_start a
wait_until 90 "both copies are complete" pair_is_whole

story "etcd is gone for a while"
load_mark "no etcd"
node_kill w
wait_until 30 "it is missed" status_has b "NOT HEARD"
load_goes_on 500 60
check "b serves as before" serves b
etcd_start
wait_until 30 "it is heard again" status_has b "witness     heard"
node_kill b
wait_until 30 "and its vote counts: a serves" serves a
load_goes_on 100 60
node_start b
wait_until 90 "both copies are complete" pair_is_whole

story "the result"
load_ends_well
printf '        killed: the load stood still for %s ms; without etcd for %s ms\n' \
  "$(phase_value killed longest_stall_ms)" "$(phase_value "no etcd" longest_stall_ms)"
check "mpathd ends when told to" stop_mpathd
