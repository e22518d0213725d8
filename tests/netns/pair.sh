#!/usr/bin/env bash
# The pair under load: nodes killed, stopped, powered off, cut off and handed over, again and again. After each: one node
# serves, every acknowledged write is read back, and when both copies are complete again their disks are equal byte by
# byte. (Topology: pair_lib.sh.)
#
#   tests/netns/pair.sh                          10 takeovers, as ./check has it
#   PAIR_TAKEOVERS=200 tests/netns/pair.sh       the nightly form; held to the goals of the table
#   PAIR_ROUNDS="kill:map power:plain" ...       these rounds, over and over
#   PAIR_SEED=N                                  chooses what is left to chance; printed
#
# Rounds over `map` are seen by mpathd, logged in to both nodes over two NICs (ALUA); those over `plain` by an initiator
# without multipath, libiscsi inside qemu-nbd, through the virtual address. It has a mind of its own: after a refused
# connection, and when it has just come back, it waits one to three seconds before it tries again.
. "$(dirname "$0")/pair_lib.sh"
lab_enter "$@"
mptargetd --help | grep -q -- --witness || skip "this mptargetd knows no pairs"
pair_begin python3 nbdinfo qemu-nbd

TAKEOVERS=${PAIR_TAKEOVERS:-10}
RANDOM=${PAIR_SEED:=$((EPOCHSECONDS % 32768))}
ROUNDS=(kill:map planned:map witness:map power:map stop:map isolated:map planned:map deaf:map service:map
        kill:plain planned:plain power:plain parted:map outdated:map)
[ -z "${PAIR_ROUNDS:-}" ] || read -ra ROUNDS <<< "$PAIR_ROUNDS"
GOAL_killed=1000 GOAL_silent=1500 GOAL_planned=200   # milliseconds, p99
taken=0

# ---- the faults. Each is a pair of words: what happens to the node that serves, and how it is mended. CLASS is the line of
# the table; EXPECT whether the other node takes over (yes, or either is right).

round_kill() { CLASS=killed EXPECT=yes; node_kill "$SERVING"; }
mend_kill() { node_start "$SERVING"; }
round_power() { CLASS=silent EXPECT=yes; power_off "$SERVING"; }
mend_power() { power_on "$SERVING"; }
round_planned() { CLASS=planned EXPECT=yes; check "switchover is done" pctl "$SERVING" cluster switchover; }
mend_planned() { :; }
# Long enough that the other must take over, or too short for anybody to notice, or in between.
round_stop() {
  local pauses=(2000 200 5000 500 1000 10000) pause
  pause=$((pauses[STOPS % ${#pauses[@]}] * STRETCH))
  STOPS=$((STOPS + 1))
  if [ "$pause" -ge $((2000 * STRETCH)) ]; then CLASS=silent EXPECT=yes; else CLASS=- EXPECT=either; fi
  echo "        stands still for $pause ms"
  node_stop "$SERVING" "$((pause / 1000)).$(printf '%03d' $((pause % 1000)))"
}
STOPS=0
mend_stop() { :; }
# The one that serves is heard by nobody on the replication networks.
round_isolated() { CLASS=silent EXPECT=yes; cable_cut "$SERVING" rep0; cable_cut "$SERVING" rep1; }
mend_isolated() { everything_mended; }
# The nodes do not hear each other; the witness hears both.
round_parted() { CLASS=- EXPECT=either; parted a b rep0 rep1; }
mend_parted() { everything_mended; }
# One of them does not hear the other.
round_deaf() {
  local from=$SERVING to=$OTHER net
  CLASS=- EXPECT=either
  if ((RANDOM % 2)); then from=$OTHER to=$SERVING; fi
  echo "        $to does not hear $from"
  for net in rep0 rep1; do one_way_cut "$from" "$to" "$net"; done
}
mend_deaf() { everything_mended; }
# Initiators cannot reach the one that serves.
round_service() { CLASS=service EXPECT=yes; cable_cut "$SERVING" svc0; cable_cut "$SERVING" svc1; }
mend_service() { everything_mended; }
round_witness() { CLASS=- EXPECT=either; node_kill w; }
mend_witness() { node_start w; }
# The survivor dies too, and the first comes back alone: it lacks what was written meanwhile, so it must not serve.
round_outdated() {
  CLASS=- EXPECT=either
  node_kill "$SERVING"
  wait_until 20 "$OTHER serves" serves "$OTHER"
  load_goes_on 100
  node_kill "$OTHER"
  load_mark "both are down"
  node_start "$SERVING"
  wait_until 20 "$SERVING is up" node_is_up "$SERVING"
  wait_until 20 "$SERVING says what it waits for" says_what_it_waits_for "$SERVING"
  check "it does not serve" eval '! serves "$SERVING"'
  check "and nothing was answered" load_is since_mark 0
  node_start "$OTHER"
}
mend_outdated() { :; }
says_what_it_waits_for() {
  pctl "$1" --json cluster status | python3 -c 'import json, sys; sys.exit(0 if json.load(sys.stdin)["waits_for"] else 1)'
}

# ---- one round

vip_follows() { local node; node=$(who_serves); has_vip "$node" && ! has_vip "$(other_node "$node")"; }
followed() {
  case $EXPECT in
    yes) serves "$OTHER" && ! serves "$SERVING" ;;
    either) one_serves ;;
  esac
}
round() {
  local kind=${1%:*} via=${1#*:} mark stall now
  NUMBER=$((NUMBER + 1))
  story "round $NUMBER: $kind, seen over $via"
  case $via in
    map) NBD_SOCKET=$MAP_SOCKET; start_load --depth 8 --area 32 --rate 1000 --seed $((PAIR_SEED + NUMBER)) ;;
    plain) NBD_SOCKET=$PLAIN_SOCKET; start_load --depth 4 --area 8 --rate 500 --seed $((PAIR_SEED + NUMBER)) ;;
  esac
  load_goes_on 50
  # On a machine that is too busy to keep the times the role may have changed by itself.
  wait_until 30 "one serves, and both copies are complete" pair_is_whole
  SERVING=$(who_serves)
  OTHER=$(other_node "$SERVING")
  mark="$kind"
  load_mark "$mark"
  "round_$kind"
  wait_until 30 "one serves, the right one" followed
  load_goes_on 100 60
  now=$(who_serves)
  load_mark "mended"
  "mend_$kind"
  wait_until 90 "both copies are complete" pair_is_whole
  load_goes_on 50 60
  wait_until 10 "the virtual address is where it is served, and nowhere else" vip_follows
  load_ends_well
  check "the disks of a and b are equal" same_disks
  stall=$(phase_value "$mark" longest_stall_ms)
  ACKNOWLEDGED=$((ACKNOWLEDGED + $(load_result acknowledged)))
  VERIFIED=$((VERIFIED + $(load_result verified)))
  [ "$now" = "$SERVING" ] || taken=$((taken + 1))
  [ "$CLASS" = - ] || [ "$now" = "$SERVING" ] || echo "$CLASS $via $stall" >> "$LAB/stalls"
  printf '        %s -> %s, the load stood still for %s ms\n' "$SERVING" "${now:-nobody}" "$stall"
}
NUMBER=0 ACKNOWLEDGED=0 VERIFIED=0

# The stalls as a table; fails when a p99 is above what is allowed.
table() {
  python3 - "$LAB/stalls" "$1" "killed=$GOAL_killed" "silent=$GOAL_silent" "planned=$GOAL_planned" << 'PYTHON'
import collections, sys
goals = dict((k, int(v)) for k, v in (word.split("=") for word in sys.argv[3:]))
stretch, good = float(sys.argv[2]), True
groups = collections.defaultdict(list)
for line in open(sys.argv[1]):
    kind, via, stall = line.split()
    groups[kind, via].append(int(stall))
def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]
names = {"map": "mpathd, ALUA", "plain": "plain, virtual address"}
print(f"{'takeover':10} {'seen by':24} {'times':>5} {'p50':>8} {'p99':>8} {'longest':>8}   goal of p99")
for (kind, via), stalls in sorted(groups.items()):
    p99, goal = percentile(stalls, 0.99), goals.get(kind) if via == "map" else None
    print(f"{kind:10} {names[via]:24} {len(stalls):5} {percentile(stalls, 0.5):5} ms {p99:5} ms {max(stalls):5} ms   "
          + (f"{goal} ms" if goal else "-"))
    if goal and p99 > goal * stretch: good = False
sys.exit(0 if good else 1)
PYTHON
}

# ---- the story

echo "seed $PAIR_SEED"
pair_config
story "two empty nodes and a witness become a pair"
pair_make
wait_until 60 "the first sync is done: both copies are complete" pair_is_whole
check "one of them serves" one_serves
wait_until 10 "the virtual address is where it is served, and nowhere else" vip_follows
pair_login
wait_quietly 20 map_of_size 64 || die "no map"
MAP_SOCKET=$NBD_SOCKET
plain_login
: > "$LAB/stalls"

limit=$((3 * TAKEOVERS + ${#ROUNDS[@]}))
while [ "$taken" -lt "$TAKEOVERS" ] && [ "$NUMBER" -lt "$limit" ] && [ "$LAB_FAILED" -eq 0 ]; do
  round "${ROUNDS[NUMBER % ${#ROUNDS[@]}]}"
done

story "the copies are compared while they are used"
SERVING=$(who_serves) OTHER=$(other_node "$SERVING")
printf 'x' | dd of="$LAB/$OTHER/disks/disk.img" bs=1 seek=$((20 << 20)) conv=notrunc status=none
check "verify begins" pctl "$SERVING" cluster verify
wait_until 60 "the block that differs is named" grep -qF "verify: differs offset=$((20 << 20)) length=65536" "${NODE_LOG[$SERVING]}"
wait_until 60 "both units were compared" eval '[ "$(grep -c "verify: ended" "${NODE_LOG[$SERVING]}")" -ge 2 ]'
check "verify and repair begins" pctl "$SERVING" cluster verify --repair
wait_until 60 "the disks of a and b are equal again" same_disks

story "down in order, and cold"
check "a ends in order" node_term a
check "b ends in order" node_term b
check "no virtual address is left" eval '! has_vip a && ! has_vip b'
nodes_start b a
wait_until 60 "both copies are complete, one serves" pair_is_whole
check "the disks of a and b are equal" same_disks

story "the result"
check "$TAKEOVERS takeovers, $taken of them seen" test "$taken" -ge "$TAKEOVERS"
check "$ACKNOWLEDGED writes acknowledged, $VERIFIED verified" test "$ACKNOWLEDGED" -eq "$VERIFIED"
# Short forms run beside other work on any machine: there only what is far out fails. The nightly form is held to the goals.
if [ "$TAKEOVERS" -ge 100 ]; then stretch=$STRETCH; else stretch=$((3 * STRETCH)); fi
table "$stretch" && passed "takeovers within $stretch times the goals" || failed "takeovers within $stretch times the goals"
check "mpathd ends when told to" stop_mpathd
