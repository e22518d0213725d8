#!/usr/bin/env bash
# CHAP through mpathadm against mptargetd: one way, mutual, wrong and none. (Topology: lib.sh.)
. "$(dirname "$0")/lib.sh"
lab_enter "$@"
lab_begin mptargetd

one_way='incoming_user initiator initiator-secret'
disk_config "$LAB/disk.img" "$one_way" | target_config main
start_mptargetd main
start_mpathd
make_ifaces > /dev/null
exits 0 "discovery needs no secret" adm -m discovery -t st -p "$PORTAL0" -I ieth0
node() { adm -m node -T "$IQN" -p "$PORTAL0" "$@"; }
set_key() { node --op=update -n "$1" -v "$2" > "$LAB/out" 2>&1; }

story "no credentials"
exits 24 "login is refused" node --login
err_has "authorization failure"

story "one way"
set_key node.session.auth.authmethod CHAP
set_key node.session.auth.username initiator
set_key node.session.auth.password initiator-secret
exits 0 "login succeeds" node --login
out_has "successful"
exits 0 "show masks the secret" node --op=show
check "the secret is not printed" eval '! grep -q initiator-secret "$LAB/out"'
exits 0 "logout" node --logout

story "a wrong secret"
set_key node.session.auth.password wrong-secret-12
exits 24 "login is refused" node --login
err_has "authorization failure"
check "no log holds the secret" eval '! grep -q -e wrong-secret-12 -e initiator-secret "$LAB"/*.log'

story "mutual"
disk_config "$LAB/disk.img" "$one_way" 'outgoing_user target target-secret-1' | target_config main
check "the target takes the new configuration" tctl main reload
set_key node.session.auth.password initiator-secret
set_key node.session.auth.username_in target
set_key node.session.auth.password_in target-secret-1
exits 0 "login succeeds when the target proves itself" node --login
exits 0 "logout" node --logout
set_key node.session.auth.password_in not-this-secret
exits 24 "login is refused when the target cannot" node --login
