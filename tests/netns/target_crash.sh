#!/usr/bin/env bash
# mptargetd is killed again and again under a verifying load: no acknowledged write is missing, persistent reservations with
# APTPL hold, and so does what mptargetctl made. Told to end, it is gone within two seconds although initiators are logged
# in. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin mptargetd mptargetctl python3 verify_load

PR_IQN=$IQN.pr
HOLDER=iqn.2026-11.example.lab:holder STRANGER=iqn.2026-11.example.lab:stranger
# as NAME STEP...: an initiator of that name, which only the second target lets in
as() { in_i "$LIB_DIR/pr_client" "$PORTAL0:3260" "$PR_IQN" 0 "$@"; }
reservation_holds() {
  exits 0 "the holder is still registered, and writes" as "$HOLDER" keys held write
  out_is $'keys 0xabc\nheld 0xabc type 3\nwrite good'
  exits 0 "a stranger may not, nor read" as "$STRANGER" write read
  out_is $'write conflict\nread conflict'
}
configuration() { tctl main show config | sed 's/ *#.*//'; }

{ disk_config "$LAB/disk.img"
  printf 'lu reserved {\n  path %s\n  size 16M\n  create yes\n}\n' "$LAB/reserved.img"
  printf 'target %s {\n  lun 0 reserved\n  allow_initiator %s\n  allow_initiator %s\n}\n' "$PR_IQN" "$HOLDER" "$STRANGER"
} | target_config main
start_mptargetd main
printf 'defaults {\n polling_interval 1\n no_path_retry queue\n}\n' > "$MPATHD_ROOT/etc/mpathd/multipath.conf"
start_mpathd
make_map

story "a reservation, and objects made by mptargetctl"
exits 0 "register with APTPL, reserve exclusively" as "$HOLDER" register 0xabc reserve 0xabc 3
out_is $'register good\nreserve good'
reservation_holds
check "a unit" tctl main create lu made --path "$LAB/made.img" --size 8M
check "a target" tctl main create target "$IQN.made"
check "the unit behind it" tctl main map "$IQN.made" 0 made
before=$(configuration)

start_load --depth 8
for round in 1 2 3; do
  story "kill -9 under load, round $round"
  load_mark "killed $round"
  stop_mptargetd main KILL
  [ "$round" -eq 1 ] && wait_until 20 "both paths are failed" paths_are 2 failed
  load_mark "restarted $round"
  start_mptargetd main
  wait_until 60 "both paths are active again" paths_are 2 active
  load_goes_on 300
  reservation_holds
  check "the configuration is what it was" test "$(configuration)" = "$before"
done

story "told to end, with initiators logged in and I/O under way"
load_mark "told to end"
begin=$EPOCHREALTIME
kill -TERM "${TARGET_PID[main]}"
check "it is gone within 2 s" eval 'wait_quietly 10 gone "${TARGET_PID[main]}" && ! passed_seconds "$begin" $((2 * ${LAB_STRETCH:-1}))'
echo "        after $(((${EPOCHREALTIME/[.,]/} - ${begin/[.,]/}) / 1000)) ms"
load_mark "started again"
start_mptargetd main
wait_until 60 "both paths are active again" paths_are 2 active
load_goes_on 300
reservation_holds

story "the verdict"
check "the load ends well: nothing lost, no request failed" stop_load
sed 's/^/        /' "$LAB/load.log"
check "every acknowledged write was verified" test "$(load_result acknowledged)" -eq "$(load_result verified)"
