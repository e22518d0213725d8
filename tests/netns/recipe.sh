#!/usr/bin/env bash
# What tutorials tell people to type, with every line of output and every exit code. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin "$LAB_TARGET"

start_target
echo "InitiatorName=iqn.2026-11.example.lab:host" > "$MPATHD_ROOT/etc/mpathd/initiatorname.iscsi"
start_mpathd

story "interfaces"
for i in 0 1; do
  exits 0 "iface new" adm -m iface -I "ieth$i" --op=new
  out_is "New interface ieth$i added"
  exits 0 "iface update" adm -m iface -I "ieth$i" --op=update -n iface.net_ifacename -v "eth$i"
  out_is "ieth$i updated."
done
exits 0 "iface list" adm -m iface
out_has "ieth0 tcp,<empty>,<empty>,eth0,<empty>"
out_has "ieth1 tcp,<empty>,<empty>,eth1,<empty>"

story "discovery"
exits 21 "no session yet" adm -m session
err_has "No active sessions."
exits 0 "discovery through both" adm -m discovery -t sendtargets -p "$PORTAL0" -I ieth0 -I ieth1
out_is "10.77.0.2:3260,1 $IQN
10.77.0.2:3260,1 $IQN"
err_is_quiet
exits 0 "nodes" adm -m node
out_has "10.77.0.2:3260,1 $IQN"
TAB=$'\t'
exits 0 "the tree" adm -m node -P 1
out_is "Target: $IQN
${TAB}Portal: 10.77.0.2:3260,1
${TAB}${TAB}Iface Name: ieth0
${TAB}Portal: 10.77.0.2:3260,1
${TAB}${TAB}Iface Name: ieth1"

story "login"
exits 0 "loginall" adm -m node --loginall=all
err_is_quiet
check "two lines, one for each interface" diff <(sort "$LAB/out") - << TEXT
Login to [iface: ieth0, target: $IQN, portal: 10.77.0.2,3260] successful.
Login to [iface: ieth1, target: $IQN, portal: 10.77.0.2,3260] successful.
TEXT
exits 0 "sessions" adm -m session
out_is "tcp: [1] 10.77.0.2:3260,1 $IQN (non-flash)
tcp: [2] 10.77.0.2:3260,1 $IQN (non-flash)"
wait_until 20 "both paths are active" paths_are 2 active
exits 15 "login once more: the sessions exist" adm -m node --loginall=all
exits 15 "a record with a session is not deleted" adm -m node -T "$IQN" -p "$PORTAL0" --op=delete
exits 0 "rescan" adm -m session -R
out_has "Rescanning session [sid: 1, target: $IQN, portal: 10.77.0.2,3260]"

story "the map"
exits 0 "-ll" ctl -ll
out_has "MPATH,VIRTUAL-DISK"
out_has "size=256M"
out_has "active ready running"
exits 0 "show paths" ctl show paths
out_has "hcil"

story "logout"
exits 0 "logoutall" adm -m node --logoutall=all
out_has "Logout of [sid: 1, target: $IQN, portal: 10.77.0.2,3260] successful."
exits 21 "no session is left" adm -m session
exits 0 "the records go" adm -m node -T "$IQN" -p "$PORTAL0" --op=delete
exits 21 "no record is left" adm -m node
