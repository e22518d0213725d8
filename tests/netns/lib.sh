# The laboratory of the end-to-end tests and of ./demo. Sourced by bash scripts; needs iproute2 and util-linux.
#
#      initiator's namespace                      target's namespace
#   ┌───────────────────────────┐   veth    ┌────────────────────────────┐
#   │ mpathd     eth0 10.77.0.1 ├───────────┤ t0 10.77.0.2   mptargetd   │   one session per iface × portal:
#   │ mpathadm                  │           │                (tgtd,      │     ieth0 → 10.77.0.2 over eth0 and t0
#   │ mpathctl   eth1 10.77.1.1 ├───────────┤ t1 10.77.1.2    istgt)     │     ieth1 → 10.77.0.2 over eth1 and t1
#   └───────────────────────────┘   veth    └────────────────────────────┘
#
# Either NIC reaches both portals (a route of its own for each); answers go back through the NIC they were asked on.
# The usual target has one portal, 10.77.0.2 (tgtd, which has both, answers a discovery with the one that was asked), so
# discovery with two ifaces makes two paths. LAB_TARGET=tgtd: the same story with tgtd as the target.
# A namespace is a process that holds it, so nothing has a name that two runs could fight over, and nothing can outlive
# the script: everything is started with "die with your parent". The machine's own network is never touched.
# Without root the script starts itself again in a user namespace.

set -u
LIB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SOURCE_DIR=$(cd "$LIB_DIR/../.." && pwd)
MPATH_BUILD=${MPATH_BUILD:-$SOURCE_DIR/build/dev}
BIN=$MPATH_BUILD/bin
export PATH=$BIN:$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8
unset MPATHD_ROOT

LAB_TARGET=${LAB_TARGET:-mptargetd}
IQN=iqn.2026-11.example.lab:disk
PORTAL0=10.77.0.2 PORTAL1=10.77.1.2
LAB= NS_I= NS_T=
LAB_PIDS=()   # everything that must be gone at the end
LAB_CHECKS=0 LAB_FAILED=0
LAB_POLL=${LAB_POLL:-0.02}   # seconds between two looks; where a program takes a second to start, looking is work

# ---- what a test says

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  C_BOLD=$'\e[1m' C_GREEN=$'\e[32m' C_RED=$'\e[31m' C_DIM=$'\e[2m' C_OFF=$'\e[0m'
else
  C_BOLD='' C_GREEN='' C_RED='' C_DIM='' C_OFF=''
fi

story() { printf '%s== %s%s\n' "$C_BOLD" "$*" "$C_OFF"; }
passed() { LAB_CHECKS=$((LAB_CHECKS + 1)); printf '%sok%s    %s\n' "$C_GREEN" "$C_OFF" "$1"; }
failed() { LAB_CHECKS=$((LAB_CHECKS + 1)); LAB_FAILED=$((LAB_FAILED + 1)); printf '%sFAIL%s  %s\n' "$C_RED" "$C_OFF" "$1"; }

# check "what must hold" COMMAND...
check() {
  local what=$1; shift
  if "$@" > "$LAB/check.out" 2>&1; then passed "$what"; else failed "$what"; sed 's/^/        /' "$LAB/check.out"; fi
}

# exits CODE "what" COMMAND...: the exit status is CODE; the output is left in $LAB/out and $LAB/err
exits() {
  local want=$1 what=$2 got=0; shift 2
  "$@" > "$LAB/out" 2> "$LAB/err" < /dev/null || got=$?
  if [ "$got" -eq "$want" ]; then
    passed "$what (exit $want)"
  else
    failed "$what: exit $got, not $want"
    sed 's/^/        /' "$LAB/out" "$LAB/err"
  fi
}

# Of the command that `exits` ran last.
out_is() { check "it prints: ${1//$'\n'/ / }" diff <(printf '%s\n' "$1") "$LAB/out"; }
out_has() { check "it prints ...$1..." grep -qF -- "$1" "$LAB/out"; }
err_has() { check "stderr says ...$1..." grep -qF -- "$1" "$LAB/err"; }
err_is_quiet() { check "stderr is silent" test ! -s "$LAB/err"; }
err_is_one_line() { check "stderr is one clear line" test "$(wc -l < "$LAB/err")" -eq 1; }

# wait_until SECONDS "what" COMMAND...: the condition, not the clock, ends the wait; too late is a failed check
wait_until() {
  local limit=$1 what=$2 begin=$EPOCHREALTIME; shift 2
  while ! "$@" > /dev/null 2>&1; do
    if passed_seconds "$begin" "$limit"; then failed "$what: not within $limit s"; return 1; fi
    sleep "$LAB_POLL"
  done
  local took=$(( (${EPOCHREALTIME/[.,]/} - ${begin/[.,]/}) / 1000 ))
  passed "$what ($took ms)"
}
# The same without a line of its own, for the set-up.
wait_quietly() {
  local limit=$1 begin=$EPOCHREALTIME; shift
  while ! "$@" > /dev/null 2>&1; do
    passed_seconds "$begin" "$limit" && return 1
    sleep "$LAB_POLL"
  done
}
passed_seconds() { [ $(( ${EPOCHREALTIME/[.,]/} - ${1/[.,]/} )) -gt $(( $2 * 1000000 )) ]; }

die() { printf '%s\n' "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

# ---- the laboratory

# lab_enter "$@": first line of a script. Without root: once more, in a user namespace in which we are root.
lab_enter() {
  [ "$(id -u)" -eq 0 ] || [ -n "${LAB_INSIDE:-}" ] && return
  unshare -rnm true 2> /dev/null || skip "neither root nor user namespaces"
  exec env LAB_INSIDE=1 unshare -rnm -- "$0" "$@"
}

# A process that keeps a namespace (and a /sys that shows it) alive; its pid names both.
new_namespace() {
  # shellcheck disable=SC2016
  setpriv --pdeathsig KILL unshare -nm sh -c 'mount -t sysfs sysfs /sys 2> /dev/null; exec sleep infinity' &
  LAB_PIDS+=($!)
  disown $!
  local own; own=$(readlink /proc/self/ns/net)
  wait_quietly 10 sh -c "test \"\$(readlink /proc/$!/ns/net)\" != '$own' && grep -qx sleep /proc/$!/comm" \
    || die "cannot make a network namespace"
  NEW_NAMESPACE=$!
}

in_ns() { local pid=$1; shift; nsenter -t "$pid" -n -m --wd="$PWD" -- "$@"; }
in_i() { in_ns "$NS_I" "$@"; }
in_t() { in_ns "$NS_T" "$@"; }

# start_in NAMESPACE_PID LOG COMMAND...: in the background; pid in $STARTED; dies with this script at the latest
start_in() {
  local pid=$1 log=$2; shift 2
  : > "$log"   # the child may take its time, and nobody shall read what the one before it said
  nsenter -t "$pid" -n -m --wd="$PWD" -- setpriv --pdeathsig KILL "$@" > "$log" 2>&1 < /dev/null &
  STARTED=$!
  LAB_PIDS+=("$STARTED")
  disown "$STARTED"
}

# A process keeps its files and locks until its last thread has ended, also when its first one is a zombie already.
alive() {
  kill -0 "$1" 2> /dev/null || return 1   # a bare return gives another status in a trap
  ! grep -q '^State:.Z' "/proc/$1/status" 2> /dev/null || [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2> /dev/null | wc -l)" -gt 1 ]
}
gone() { ! alive "$1"; }
# end_process PID [SIGNAL]: and waits until it is gone
end_process() {
  kill -"${2:-KILL}" "$1" 2> /dev/null
  wait_quietly 20 gone "$1" || { kill -KILL "$1" 2> /dev/null; wait_quietly 5 gone "$1"; return 1; }
}

# lab_open PROGRAM...: skips without them; the directory of the laboratory, and what ends it all
lab_open() {
  local program
  for program in "$@"; do command -v "$program" > /dev/null || skip "no $program"; done
  LAB_INTERFACES=$(ls /sys/class/net)
  LAB=$(mktemp -d "${TMPDIR:-/tmp}/mpath.XXXXXX")
  trap lab_end EXIT
  trap 'exit 130' INT TERM HUP
  mkdir -p "$LAB/root/etc/mpathd"
  export MPATHD_ROOT=$LAB/root
}

# lab_begin PROGRAM...: the two namespaces of the drawing, with nothing in them but NICs
lab_begin() {
  lab_open "$@"
  # Disks of the kernel belong to its first namespace, so what makes them must live there.
  if [ -n "${LAB_INITIATOR_PID:-}" ]; then NS_I=$LAB_INITIATOR_PID; else new_namespace; NS_I=$NEW_NAMESPACE; fi
  new_namespace; NS_T=$NEW_NAMESPACE
  in_i ip link set lo up
  in_t ip link set lo up
  local i
  for i in 0 1; do
    in_i ip link add "eth$i" type veth peer name "t$i" netns "$NS_T"
    in_i ip addr add "10.77.$i.1/24" dev "eth$i"
    in_t ip addr add "10.77.$i.2/24" dev "t$i"
    in_t ip link set "t$i" up
    in_i ip link set "eth$i" up
  done
  routes_of eth0
  routes_of eth1
}

# Each NIC reaches the other's portal too. The kernel forgets these routes when the NIC goes down.
routes_of() {
  case $1 in
    eth0) in_i ip route replace 10.77.1.0/24 dev eth0 metric 200 ;;
    eth1) in_i ip route replace 10.77.0.0/24 dev eth1 metric 200 ;;
  esac
}

lab_end() {
  local code=$?
  trap '' INT TERM HUP
  [ -n "$LAB" ] || return
  if [ "$code" -ne 0 ] || [ "$LAB_FAILED" -ne 0 ]; then show_logs; fi
  [ "$LAB_FAILED" -eq 0 ] || code=1
  lab_clean || code=1
  [ "$LAB_CHECKS" -eq 0 ] || echo "$((LAB_CHECKS - LAB_FAILED)) of $LAB_CHECKS checks passed"
  exit "$code"
}

show_logs() {
  local log
  for log in "$LAB"/*.log; do [ -s "$log" ] && { echo "---- ${log##*/}"; tail -40 "$log"; }; done
}

# Ends everything, by pid, last started first; fails and says so when something is left.
lab_clean() {
  local i pid left=()
  for (( i = ${#LAB_PIDS[@]} - 1; i >= 0; --i )); do end_process "${LAB_PIDS[i]}"; done
  for pid in "${LAB_PIDS[@]}"; do alive "$pid" && left+=("process $pid"); done
  rm -rf "$LAB"
  [ -e "$LAB" ] && left+=("$LAB")
  [ "$(ls /sys/class/net)" = "$LAB_INTERFACES" ] || left+=("a network interface")
  [ ${#left[@]} -eq 0 ] || { echo "left behind: ${left[*]}" >&2; return 1; }
}

# ---- what happens to cables

link_down() { in_i ip link set "$1" down; }
link_up() { in_i ip link set "$1" up; routes_of "$1"; }
# The far side goes silent: nothing is answered any more on that cable, nothing is refused either.
far_side_silent() { in_t ip route add blackhole "10.77.${1#eth}.1/32"; }
far_side_speaks() { in_t ip route del blackhole "10.77.${1#eth}.1/32"; }

# ---- the target: mptargetd, each on a root of its own, $LAB/NAME

declare -A TARGET_PID=()
# target_config NAME: what is on standard input becomes its etc/mptarget/mptarget.conf
target_config() { mkdir -p "$LAB/$1/etc/mptarget" && cat > "$LAB/$1/etc/mptarget/mptarget.conf"; }
# start_mptargetd NAME: waits until it serves; before that it answers logins with "not ready"
start_mptargetd() {
  local log=$LAB/mptargetd.$1.log
  start_in "$NS_T" "$log" mptargetd --root "$LAB/$1"
  TARGET_PID[$1]=$STARTED
  # It synchronises what it writes down, and a disk that others write to may take its time for that.
  wait_quietly 60 eval 'gone $STARTED || grep -q " started version=" "$log"'
  alive "$STARTED" && grep -q " started version=" "$log" || { cat "$log" >&2; die "mptargetd does not start"; }
}
# stop_mptargetd NAME [SIGNAL]: told by TERM, it must come to its own end
stop_mptargetd() {
  end_process "${TARGET_PID[$1]}" "${2:-KILL}" && { [ "${2:-KILL}" != TERM ] || grep -q " stopped$" "$LAB/mptargetd.$1.log"; }
}
tctl() { local name=$1; shift; in_t mptargetctl --root "$LAB/$name" "$@"; }

# disk_config FILE [LINE...]: one disk of 256 MiB behind the first portal; the lines go into the target
disk_config() {
  local file=$1; shift
  printf 'portal_group 1 {\n  portal %s\n}\nlu disk {\n  path %s\n  size 256M\n  create yes\n}\n' "$PORTAL0" "$file"
  printf 'target %s {\n  lun 0 disk\n' "$IQN"
  [ $# -eq 0 ] || printf '  %s\n' "$@"
  echo "}"
}

# The usual one, named main: 256 MiB. A story about tgtd says LAB_TARGET=tgtd.
start_target() {
  case $LAB_TARGET in
    mptargetd) disk_config "$LAB/disk.img" | target_config main && start_mptargetd main ;;
    tgtd) start_tgtd main && tgt_target main 1 "$IQN" "$LAB/disk.img" 256M || die "tgtadm fails" ;;
  esac
}
stop_target() {
  case $LAB_TARGET in
    mptargetd) stop_mptargetd main "$@" ;;
    tgtd) stop_tgtd main ;;
  esac
}
# The same name and address, another disk: $LAB/other.img, named other.
start_other_target() {
  case $LAB_TARGET in
    mptargetd) disk_config "$LAB/other.img" | target_config other && start_mptargetd other ;;
    tgtd) start_tgtd other && tgt_target other 7 "$IQN" "$LAB/other.img" 256M ;;
  esac
}
stop_other_target() {
  case $LAB_TARGET in
    mptargetd) stop_mptargetd other ;;
    tgtd) stop_tgtd other ;;
  esac
}

# ---- tgtd. It ignores SIGTERM, so it is ended with SIGKILL, by pid.

declare -A TGT_PID=()
tgtadm_() { local name=$1; shift; TGT_IPC_SOCKET=$LAB/tgt.$name tgtadm -C 0 --lld iscsi "$@"; }

# start_tgtd NAME [PORTAL...] (default: both)
start_tgtd() {
  local name=$1 portal; shift
  [ $# -gt 0 ] || set -- "$PORTAL0" "$PORTAL1"
  rm -f "$LAB/tgt.$name".*
  TGT_IPC_SOCKET=$LAB/tgt.$name start_in "$NS_T" "$LAB/tgtd.$name.log" tgtd -f -C 0 --iscsi "portal=$1:3260"
  TGT_PID[$name]=$STARTED
  wait_quietly 20 tgtadm_ "$name" --mode system --op show || { cat "$LAB/tgtd.$name.log" >&2; die "tgtd does not start"; }
  shift
  for portal in "$@"; do tgtadm_ "$name" --mode portal --op new --param "portal=$portal:3260"; done
}

# tgt_target NAME TID IQN FILE [SIZE]: one target, one LUN. Its identity follows from TID and LUN.
tgt_target() {
  local name=$1 tid=$2 iqn=$3 file=$4
  [ -e "$file" ] || truncate -s "${5:-256M}" "$file"
  tgtadm_ "$name" --mode target --op new --tid "$tid" -T "$iqn" &&
    tgtadm_ "$name" --mode logicalunit --op new --tid "$tid" --lun 1 -b "$file" &&
    tgtadm_ "$name" --mode target --op bind --tid "$tid" -I ALL
}
stop_tgtd() { end_process "${TGT_PID[$1]}" KILL; }

# ---- istgt

# start_istgt: 256 MiB behind both portals, as iqn.2026-11.example.lab:ist
start_istgt() {
  mkdir -p "$LAB/ist"
  truncate -s 256M "$LAB/ist/lun0.img"
  : > "$LAB/ist/auth.conf"
  cat > "$LAB/ist/istgt.conf" << CONF
[Global]
  NodeBase "iqn.2026-11.example.lab"
  PidFile $LAB/ist/istgt.pid
  AuthFile $LAB/ist/auth.conf
  MediaDirectory $LAB/ist
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 32
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:3261
  Netmask 127.0.0.0/8
[PortalGroup1]
  Portal DA1 $PORTAL0:3260
  Portal DA2 $PORTAL1:3260
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 10.77.0.0/16
[LogicalUnit1]
  TargetName ist
  TargetAlias "d1"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  UnitInquiry "LAB" "iSCSI Disk" "0001" "10000001"
  QueueDepth 32
  LUN0 Storage $LAB/ist/lun0.img 256MB
CONF
  start_in "$NS_T" "$LAB/istgt.log" istgt -c "$LAB/ist/istgt.conf" -D
  ISTGT_PID=$STARTED
  wait_quietly 20 listening_in_target "$PORTAL1:3260" || { cat "$LAB/istgt.log" >&2; die "istgt does not start"; }
}
listening_in_target() { in_t ss -Hltn | grep -qF "$1"; }

# ---- mpathd and its two tools

MPATHD_PID=
# start_mpathd [OPTION...]
start_mpathd() {
  start_in "$NS_I" "$LAB/mpathd.log" mpathd --root "$MPATHD_ROOT" "$@"
  MPATHD_PID=$STARTED
  wait_quietly 20 ctl show daemon || { cat "$LAB/mpathd.log" >&2; die "mpathd does not answer"; }
}
# It must come to its own end.
stop_mpathd() { end_process "$MPATHD_PID" TERM && grep -q " stopped$" "$LAB/mpathd.log"; }
kill_mpathd() { end_process "$MPATHD_PID" KILL; }

adm() { in_i mpathadm "$@"; }
ctl() { in_i mpathctl "$@"; }

# What an administrator types before anything else.
make_ifaces() {
  local i
  for i in 0 1; do
    adm -m iface -I "ieth$i" --op=new && adm -m iface -I "ieth$i" --op=update -n iface.net_ifacename -v "eth$i" || return
  done
}
discover() { adm -m discovery -t sendtargets -p "$PORTAL0" -I ieth0 -I ieth1; }
login_all() { adm -m node --loginall=all; }
# All of it, quietly: a map over two NICs.
make_map() {
  { make_ifaces && discover && login_all; } > "$LAB/make_map.log" 2>&1 || { cat "$LAB/make_map.log"; die "no map"; }
  wait_quietly 20 paths_are "${1:-2}" active || { ctl show paths; die "the paths do not come up"; }
  wait_quietly 20 nbd_socket || die "no NBD socket"
}

# paths_are N active|failed: so many paths are in that state (dm state, as `show paths` has it)
paths_are() { [ "$(ctl show paths raw format "%t" 2> /dev/null | grep -c "^$2")" -eq "$1" ]; }
# The same for the paths of one NIC: nic_paths_are eth1 2 failed. %i is host:channel:id:lun with host = session id.
nic_paths_are() {
  local nic=$1 count=$2 state=$3 sids
  sids=$(adm -m session -P 1 2> /dev/null | awk -v nic="$nic" '/Iface Netdev:/ {n = $NF} /SID:/ {if (n == nic) print $NF}')
  [ "$(ctl show paths raw format "%i %t" | awk -v sids="$sids" -v state="$state" '
    BEGIN {split(sids, list, "\n"); for (i in list) wanted[list[i]] = 1}
    {split($1, hcil, ":"); if (hcil[1] in wanted && $2 == state) ++n} END {print n + 0}')" -eq "$count" ]
}
sessions_are() { [ "$(adm -m session 2> /dev/null | wc -l)" -eq "$1" ]; }
nbd_socket() { NBD_SOCKET=$(find "$MPATHD_ROOT/run/mpathd/nbd" -name '*.sock' 2> /dev/null | head -1); [ -S "$NBD_SOCKET" ]; }

# ---- the verifying load

LOAD_PID=
# start_load [OPTION of verify_load...]: runs until stop_load. What it prints: load.log, or ours with LOAD_ALOUD=1.
start_load() {
  local out
  if [ -n "${LOAD_ALOUD:-}" ]; then exec {out}>&1; else exec {out}> "$LAB/load.log"; fi
  mkfifo "$LAB/load.control"
  exec {LOAD_CONTROL}<> "$LAB/load.control"
  setpriv --pdeathsig KILL verify_load --unix "$NBD_SOCKET" --seconds 0 --stdin --status "$LAB/load.status" \
    --json "$LAB/load.json" "$@" < "$LAB/load.control" >&"$out" 2>&1 &
  LOAD_PID=$!
  LAB_PIDS+=("$LOAD_PID")
  exec {out}>&-
  wait_quietly 20 load_at_least completions 100 || { cat "$LAB/load.log" >&2; die "the load does not start"; }
}
load_value() { sed -n "s/^$1=//p" "$LAB/load.status" 2> /dev/null; }
load_at_least() { local value; value=$(load_value "$1"); [ -n "$value" ] && [ "$value" -ge "$2" ]; }
load_is() { [ "$(load_value "$1")" = "$2" ]; }
load_mark() { printf 'mark %s\n' "$1" >&"$LOAD_CONTROL"; wait_quietly 10 load_is mark "$1"; }
# The load goes on after the mark: so many requests were completed since.
load_goes_on() { wait_until "${2:-20}" "I/O goes on: $1 requests since '$(load_value mark)'" load_at_least since_mark "$1"; }
# Ends the load and waits for its final pass; its exit status is the verdict.
stop_load() {
  printf 'stop\n' >&"$LOAD_CONTROL"
  wait "$LOAD_PID"
  LOAD_VERDICT=$?
  exec {LOAD_CONTROL}>&-
  rm -f "$LAB/load.control" "$LAB/load.status"
  return "$LOAD_VERDICT"
}
# phase_value "mark" KEY: from the result, rounded up to a whole number
phase_value() {
  python3 - "$LAB/load.json" "$1" "$2" << 'PYTHON'
import json, math, sys
result = json.load(open(sys.argv[1]))
values = [p[sys.argv[3]] for p in result["phases"] if p["name"] == sys.argv[2]]
print(math.ceil(max(values)) if values else 999999)
PYTHON
}
# Limits hold for the programs as they are shipped; sanitizers and loaded machines may stretch them (LAB_STRETCH=5).
stall_within() { # stall_within "mark" MS
  set -- "$1" $(($2 * ${LAB_STRETCH:-1}))
  local stall; stall=$(phase_value "$1" longest_stall_ms)
  if [ "$stall" -le "$2" ]; then passed "$1: the longest stall was $stall ms, at most $2 are allowed"
  else failed "$1: the longest stall was $stall ms, at most $2 are allowed"; fi
}
# No request waited longer, even while others went on.
slowest_within() {
  set -- "$1" $(($2 * ${LAB_STRETCH:-1}))
  local slowest; slowest=$(phase_value "$1" slowest_request_ms)
  if [ "$slowest" -le "$2" ]; then passed "$1: the slowest request took $slowest ms, at most $2 are allowed"
  else failed "$1: the slowest request took $slowest ms, at most $2 are allowed"; fi
}
load_result() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$LAB/load.json" "$1"; }
