# The laboratory of the fail-over pair: two nodes, a witness and an initiator, each in a namespace of its own, and the
# switches between them in another, where cables are pulled. Sourced by bash scripts; words of lib.sh are used throughout.
#
#    initiator i               svc0 10.77.0.0/24    svc1 10.77.1.0/24         node a: .11     the virtual address:
#      eth0 10.77.0.1 ────────────[ switch ]                                  node b: .12     10.77.0.10, on svc0 of
#      eth1 10.77.1.1 ────────────────│───────────────[ switch ]                              the node that serves
#                        svc0 ─ a, b ─┘    svc1 ─ a, b ─┘
#                                  rep0 10.78.0.0/24    rep1 10.78.1.0/24     node a: .11
#    witness w                     rep0 ─ a, b, w       rep1 ─ a, b, w        node b: .12     witness: .13
#
# In the nodes and the witness an interface has the name of its network. Each node has a root directory ($LAB/a, $LAB/b)
# with the same mptarget.conf, and its own disks below one common path ($LAB/disks, a mount of its own in each node).
#
# A killed process leaves its kernel behind, which tells the others at once that its connections are gone. power_off takes
# the cables first: then nobody is told anything, as when a machine loses its power. What a power cut does to data that
# was not synced is the business of the simulator (tests/support/pair_sim): here the page cache survives.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NETS=(svc0 svc1 rep0 rep1)
VIP=10.77.0.10
STRETCH=${LAB_STRETCH:-1}
declare -A NS=()         # of i, a, b, w, and s: the switches
declare -A NODE_PID=() NODE_LIFE=() NODE_LOG=()
declare -A HOST_NUMBER=([i]=1 [a]=11 [b]=12 [w]=13)
declare -A NET_PREFIX=([svc0]=10.77.0 [svc1]=10.77.1 [rep0]=10.78.0 [rep1]=10.78.1)
declare -A NET_MEMBERS=([svc0]="i a b" [svc1]="i a b" [rep0]="a b w" [rep1]="a b w")

in_node() { local node=$1; shift; in_ns "${NS[$node]}" "$@"; }
# address_of NODE NET
address_of() { echo "${NET_PREFIX[$2]}.${HOST_NUMBER[$1]}"; }
# nic_of NODE NET: the name it has there
nic_of() { case $1 in i) echo "eth${2#svc}" ;; *) echo "$2" ;; esac; }
other_node() { case $1 in a) echo b ;; b) echo a ;; esac; }

# pair_begin PROGRAM...: all namespaces, networks and cables; nothing runs. PAIR_INITIATOR_PID: whose namespace is the
# initiator's, instead of one of its own (the kernel's own initiator lives in the first one only).
pair_begin() {
  lab_open nft "$@"
  local node net
  for node in i a b w s; do
    if [ "$node" = i ] && [ -n "${PAIR_INITIATOR_PID:-}" ]; then
      NEW_NAMESPACE=$PAIR_INITIATOR_PID
    else
      new_namespace
    fi
    NS[$node]=$NEW_NAMESPACE
    in_node "$node" ip link set lo up
  done
  NS_I=${NS[i]}
  for net in "${NETS[@]}"; do
    # It forwards at once, learns, and thinks nothing of its own.
    in_node s ip link add "$net" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    in_node s ip link set "$net" up
    for node in ${NET_MEMBERS[$net]}; do
      in_node s ip link add "${node}_$net" type veth peer name "$(nic_of "$node" "$net")" netns "${NS[$node]}"
      in_node s ip link set "${node}_$net" master "$net" up
      in_node "$node" ip addr add "$(address_of "$node" "$net")/24" dev "$(nic_of "$node" "$net")"
      in_node "$node" ip link set "$(nic_of "$node" "$net")" up
    done
  done
  in_node s nft add table bridge cuts && in_node s nft add chain bridge cuts forward '{ type filter hook forward priority 0; }' \
    || skip "the kernel cannot filter between the ports of a bridge"
  mkdir -p "$LAB/disks"
  for node in a b; do
    mkdir -p "$LAB/$node/disks" "$LAB/$node/etc/mptarget"
    in_node "$node" mount --bind "$LAB/$node/disks" "$LAB/disks"
  done
  mkdir -p "$LAB/w"
}

# ---- what happens to cables

cable_cut() { in_node s ip link set "$1_$2" down; }   # NODE NET: both ends see it
cable_mend() { in_node s ip link set "$1_$2" up; }
switch_off() { local node; for node in ${NET_MEMBERS[$1]}; do cable_cut "$node" "$1"; done; }   # NET
switch_on() { local node; for node in ${NET_MEMBERS[$1]}; do cable_mend "$node" "$1"; done; }
# one_way_cut FROM TO NET: what FROM sends does not come to TO; everything else goes on, and nobody sees a cable out
one_way_cut() { in_node s nft add rule bridge cuts forward iifname "$1_$3" oifname "$2_$3" drop; }
# parted ONE OTHER NET...: neither hears the other there
parted() {
  local one=$1 other=$2 net; shift 2
  for net in "$@"; do one_way_cut "$one" "$other" "$net"; one_way_cut "$other" "$one" "$net"; done
}
# Every one_way_cut and parted is over.
cuts_mend() { in_node s nft flush chain bridge cuts forward; }
# All cables in, all ways open.
everything_mended() {
  local net
  for net in "${NETS[@]}"; do switch_on "$net"; done
  cuts_mend
}

# ---- the two nodes and the witness

# pair_config [LINE...]: what both nodes read; the lines go into the section cluster. Two units: disk (LUN 0, 64 MiB or
# PAIR_DISK_MIB), and plain (16 MiB, LUN 1) for initiators of the virtual address.
pair_config() {
  local node net group=0 portals
  (umask 077 && fresh_key > "$LAB/key")
  {
    echo "cluster lab {"
    echo "  key_file $LAB/key"
    for node in a b; do echo "  address_$node $(address_of $node rep0):7788, $(address_of $node rep1):7788"; done
    echo "  witness $(witness_addresses ', ')"
    echo "  virtual_ip $VIP/24 dev svc0"
    # Sanitizers slow everything down, the members' word included.
    [ "$STRETCH" -eq 1 ] || printf '  keepalive %dms\n  warntime %dms\n  deadtime %dms\n' $((100 * STRETCH)) \
      $((300 * STRETCH)) $((600 * STRETCH))
    [ $# -eq 0 ] || printf '  %s\n' "$@"
    echo "}"
    for node in a b; do
      portals=
      for net in svc0 svc1; do portals+="  portal $(address_of $node $net)"$'\n'; done
      printf 'portal_group %d {\n%s  node %s\n}\n' $((++group)) "$portals" "$node"
    done
    printf 'portal_group %d {\n  portal %s\n  virtual yes\n}\n' $((++group)) "$VIP"
    pair_unit disk "${PAIR_DISK_MIB:-64}M"
    pair_unit plain 16M
    printf 'target %s {\n  lun 0 disk\n  lun 1 plain\n}\n' "$IQN"
  } > "$LAB/pair.conf"
  for node in a b; do cp "$LAB/pair.conf" "$LAB/$node/etc/mptarget/mptarget.conf"; done
}
pair_unit() {
  printf 'lu %s {\n  path %s\n  size %s\n  create yes\n  uuid %s\n  replicated yes\n}\n' \
    "$1" "$LAB/disks/$1.img" "$2" "$(cat /proc/sys/kernel/random/uuid)"
}
fresh_key() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
witness_addresses() { echo "$(address_of w rep0):7788$1$(address_of w rep1):7788"; }

# node_start a|b|w: in the background; each life has a log of its own
node_start() {
  local node=$1
  NODE_LIFE[$node]=$((${NODE_LIFE[$node]:-0} + 1))
  NODE_LOG[$node]=$LAB/$node.${NODE_LIFE[$node]}.log
  case $node in
    w) start_in "${NS[w]}" "${NODE_LOG[w]}" mptargetd --witness --listen "$(witness_addresses ,)" --cluster lab \
         --key-file "$LAB/key" --state "$LAB/w" --lease "$((400 * STRETCH))ms" ;;
    *) start_in "${NS[$node]}" "${NODE_LOG[$node]}" mptargetd --root "$LAB/$node" --node "$node" ;;
  esac
  NODE_PID[$node]=$STARTED
}
# It answers; who serves is another question.
node_is_up() {
  case $1 in
    w) in_node w ss -Hlun | grep -qF "$(address_of w rep0):7788" ;;
    *) grep -q " started version=" "${NODE_LOG[$1]}" ;;
  esac
}
node_runs() { node_alive "$1" && ! grep -q '^State:.T' "/proc/${NODE_PID[$1]}/status"; }   # and does not stand still
node_alive() { [ -n "${NODE_PID[$1]:-}" ] && alive "${NODE_PID[$1]}"; }
nodes_start() {
  local node
  for node in "$@"; do node_start "$node"; done
  for node in "$@"; do
    wait_quietly 20 eval "node_is_up $node || ! node_alive $node"
    node_is_up "$node" && node_alive "$node" || { cat "${NODE_LOG[$node]}" >&2; die "$node does not start"; }
  done
}
# node_end NODE SIGNAL: and it is gone; its number is not kept, since others may get it
node_end() {
  local pid=${NODE_PID[$1]} i status=0
  end_process "$pid" "$2" || status=1
  for i in "${!LAB_PIDS[@]}"; do [ "${LAB_PIDS[i]}" = "$pid" ] && unset "LAB_PIDS[i]"; done
  LAB_PIDS=("${LAB_PIDS[@]}")
  NODE_PID[$1]=
  return "$status"
}
node_kill() { node_end "$1" KILL; }
# In order: a daemon that falls on its way out is not that.
node_term() { node_end "$1" TERM && grep -q " stopped$" "${NODE_LOG[$1]}"; }
# node_stop NODE SECONDS: it stands still for so long, then goes on as if nothing had been
node_stop() { node_freeze "$1"; sleep "$2"; node_thaw "$1"; }
node_freeze() { kill -STOP "${NODE_PID[$1]}"; }
node_thaw() { kill -CONT "${NODE_PID[$1]}"; }
# power_off NODE: nobody hears of it. power_on: cables in, nothing of the old connections left, started again.
power_off() {
  local net
  for net in "${NETS[@]}"; do [[ " ${NET_MEMBERS[$net]} " != *" $1 "* ]] || cable_cut "$1" "$net"; done
  node_kill "$1"
}
power_on() {
  local net
  in_node "$1" ss -K > /dev/null 2>&1   # where the kernel can; its connections would be found dead sooner or later
  in_node "$1" ip addr del "$VIP/24" dev svc0 2> /dev/null
  for net in "${NETS[@]}"; do [[ " ${NET_MEMBERS[$net]} " != *" $1 "* ]] || cable_mend "$1" "$net"; done
  node_start "$1"
}
pctl() { local node=$1; shift; in_node "$node" mptargetctl --root "$LAB/$node" "$@"; }

# ---- what the nodes say. The line of a unit that readers of /proc/drbd know:
#      0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----          (C: the protocol; s-----: a primary that may not answer)

pair_lines() { in_node "$1" timeout "$((2 * STRETCH))" mptargetctl --root "$LAB/$1" cluster status --brief 2> /dev/null | grep 'cs:'; }
serves() { node_runs "$1" && pair_lines "$1" | grep -q 'ro:Primary/.* [ABC] r'; }   # NODE
one_serves() {
  if serves a; then ! serves b; else serves b; fi
}
who_serves() { if serves a; then echo a; elif serves b; then echo b; fi; }
# NODE sees both copies of every unit complete, and the other node.
is_whole() {
  local lines; lines=$(pair_lines "$1")
  [ -n "$lines" ] && ! grep -qvE 'cs:Connected .*ds:UpToDate/UpToDate' <<< "$lines"
}
pair_is_whole() { is_whole a && is_whole b && one_serves; }
status_has() { pctl "$1" cluster status | grep -qF "$2"; }   # NODE TEXT
same_disks() {   # of both units
  local unit
  for unit in disk plain; do cmp "$LAB/a/disks/$unit.img" "$LAB/b/disks/$unit.img" || return; done
}
# links_of NODE UNIT: "up" or "lost" of each, and the bytes that were sent over it
links_of() {
  pctl "$1" --json cluster status | python3 -c '
import json, sys
unit = next(unit for unit in json.load(sys.stdin)["units"] if unit["lu"] == sys.argv[1])
print(" ".join("%s:%d" % ("up" if link["up"] else "lost", link["sent"]) for link in unit["links"]))' "$2"
}
# link_is NODE NUMBER up|lost: of both units
link_is() {
  local unit links
  for unit in disk plain; do
    read -ra links <<< "$(links_of "$1" "$unit")"
    [[ "${links[$2]:-none}" == "$3":* ]] || return
  done
}
links_are() { link_is a "$1" "$2" && link_is b "$1" "$2"; }
all_links_up() { links_are 0 up && links_are 1 up; }
# Of the view in force, as NODE knows it.
view_number() { pctl "$1" --json cluster status | python3 -c 'import json, sys; print(json.load(sys.stdin)["view"]["number"])'; }
has_vip() { in_node "$1" ip -o addr show dev svc0 | grep -qF " $VIP/"; }

# The pair from nothing: a's empty disks are the data, b follows.
pair_make() {
  nodes_start w a b
  { pctl a cluster init --yes && wait_quietly 20 serves a && pctl b cluster join --yes; } > "$LAB/pair_make.log" 2>&1 \
    || { cat "$LAB/pair_make.log" >&2; show_logs >&2; die "the pair cannot be made"; }
}

# new_keys LINE...: into the file of all; every member reads it again, one after the other, and writes go on in between
KEYS_READ=0
new_keys() {
  local node
  printf '%s\n' "$@" > "$LAB/key"
  for node in a b; do
    pctl "$node" reload > "$LAB/reload.log" && grep -q "the keys of the pair" "$LAB/reload.log" && writes_are_answered || return
  done
  kill -HUP "${NODE_PID[w]}"
  KEYS_READ=$((KEYS_READ + 1))
  wait_quietly 10 eval '[ "$(grep -c "the keys were read again" "${NODE_LOG[w]}")" -ge "$KEYS_READ" ]' && writes_are_answered
}
# For longer than a word of the others counts, and with both copies.
KEY_MARKS=0
writes_are_answered() {
  load_mark "key $((KEY_MARKS += 1))"
  wait_quietly 20 load_at_least since_mark $((500 * STRETCH)) && pair_is_whole
}

# ---- initiators

# pair_login: mpathd, each NIC logged in to both nodes over its own network: four paths
pair_login() {
  # While a takeover is under way nobody is told of an error.
  printf 'defaults {\n  no_path_retry queue\n}\n' > "$MPATHD_ROOT/etc/mpathd/multipath.conf"
  start_mpathd
  four_logins > "$LAB/pair_login.log" 2>&1 || { cat "$LAB/pair_login.log" >&2; die "the initiator cannot log in"; }
  wait_quietly 20 sessions_are 4 || { adm -m session >&2; die "not four sessions"; }
}
four_logins() {
  local i node
  make_ifaces || return
  for i in 0 1; do
    adm -m discovery -t sendtargets -p "$(address_of a svc$i)" -I "ieth$i" || return
    for node in a b; do
      adm -m node -T "$IQN" -p "$(address_of $node svc$i):3260" -I "ieth$i" --login || return
    done
  done
}
# map_of_size MIB: the NBD socket of the map of that unit (each has a size of its own)
map_of_size() {
  local socket
  for socket in "$MPATHD_ROOT"/run/mpathd/nbd/*.sock; do
    [ -S "$socket" ] && [ "$(in_i nbdinfo --size "nbd+unix:///?socket=$socket" 2> /dev/null)" = "$(($1 << 20))" ] || continue
    NBD_SOCKET=$socket
    return
  done
  return 1
}
# plain_login: an initiator that knows nothing of multipath (libiscsi, inside qemu-nbd), through the virtual address
plain_login() {
  PLAIN_SOCKET=$LAB/plain.sock
  start_in "$NS_I" "$LAB/qemu-nbd.log" qemu-nbd --persistent --format raw --cache none --socket "$PLAIN_SOCKET" \
    "iscsi://$VIP:3260/$IQN/1"
  PLAIN_PID=$STARTED
  wait_quietly 20 test -S "$PLAIN_SOCKET" || { cat "$LAB/qemu-nbd.log" >&2; die "no plain initiator"; }
}

# ---- a load on the pair, as most stories have it

# pair_load [RATE]: mpathd logs in, and writes to the map of the unit disk go on from here
pair_load() {
  pair_login
  wait_quietly 20 map_of_size "${PAIR_DISK_MIB:-64}" || die "no map"
  start_load --depth 8 --area 32 --rate "${1:-1000}"
  load_goes_on 50
}
load_ends_well() {
  check "the load ends well: every acknowledged write is read back" stop_load
  check "acknowledged = verified" test "$(load_result acknowledged)" -eq "$(load_result verified)"
  check "no request was answered with an error" test "$(load_result errors)" -eq 0
}
