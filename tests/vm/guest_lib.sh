# The guest's side of the stories: the words of the laboratory (tests/netns/lib.sh), and those about open-iscsi and
# dm-multipath. Sourced.
#
#   guest: eth0 10.78.0.1 ──── 10.78.0.2, the target's portal group 1
#          eth1 10.78.1.1 ──── 10.78.1.2, the target's portal group 2
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"

export GROUP1=10.78.0.2 GROUP2=10.78.1.2
NODES=/etc/iscsi/nodes

guest_begin() {
  LAB=/tmp/lab
  mkdir -p "$LAB"
  exec {HOST_PORT}<> "$VM_HOST"
  local i
  for i in 0 1; do
    ip addr add "10.78.$i.1/24" dev "eth$i"
    ip link set "eth$i" up
  done
  start_iscsid
  for i in "$GROUP1" "$GROUP2"; do
    wait_quietly 20 bash -c "exec 3<> /dev/tcp/$i/3260" || die "the target does not answer at $i"
  done
  exits 0 "discovery of portal group 1" iscsiadm -m discovery -t sendtargets -p "$GROUP1"
}

start_iscsid() {
  mkdir -p /run/lock/iscsi /run/initctl /etc/iscsi
  echo "InitiatorName=iqn.2026-11.example.lab:guest" > /etc/iscsi/initiatorname.iscsi
  # Emulation is slow: a ping may take a second and says nothing of the target.
  sed -i -e 's/^\(node.conn\[0\].timeo.noop_out_\(interval\|timeout\)\) = .*/\1 = 5/' \
    -e 's/^\(node.session.timeo.replacement_timeout\) = .*/\1 = 5/' /etc/iscsi/iscsid.conf
  modprobe -a iscsi_tcp sd_mod sg
  iscsid -f > "$LAB/iscsid.log" 2>&1 &
}

guest_end() {
  echo "$((LAB_CHECKS - LAB_FAILED)) of $LAB_CHECKS checks passed"
  [ "$LAB_FAILED" -eq 0 ]
}

# host WORDS...: the host does it (host_does of kernel_initiator); its exit status
host() {
  local status
  printf '%s\n' "$*" >&"$HOST_PORT"
  read -r -t 30 status <&"$HOST_PORT" || return 124
  return "$status"
}

# record TARGET PORTAL KEY VALUE...: sets keys of the node record that discovery made
record() {
  local file=$NODES/$1/$2,3260,*/default edits=() key; shift 2
  # shellcheck disable=SC2086
  file=$(echo $file)
  while [ $# -gt 1 ]; do
    key=${1//\[/\\[}; key=${key//\]/\\]}
    sed -i "/^$key = /d" "$file"
    edits+=(-e "/^node.tpgt/a $1 = $2")
    shift 2
  done
  sed -i "${edits[@]}" "$file"
}
login() { iscsiadm -m node -T "$1" -p "$2" --login; }
logout() { iscsiadm -m node -T "$1" -p "$2" --logout; }

# session_of TARGET PORTAL: its directory below /sys/class/iscsi_session is in $SESSION
session_of() {
  local each
  for each in /sys/class/iscsi_session/session*; do
    [ -e "$each/targetname" ] || continue
    [ "$(cat "$each/targetname")" = "$1" ] && [ "$(cat "$each"/device/connection*/iscsi_connection/*/persistent_address)" = "$2" ] &&
      SESSION=$each && return
  done
  return 1
}
# disk_of TARGET PORTAL [LUN]: its device node is in $DISK, once it is there
disk_of() {
  local block
  session_of "$1" "$2" || return
  for block in "$SESSION"/device/target*/*:"${3:-$DISK_LUN}"/block/sd*; do
    [ -e "$block/size" ] && [ "$(cat "$block/size")" -gt 0 ] && [ -b "/dev/${block##*/}" ] && DISK=/dev/${block##*/} && return
  done
  return 1
}
no_session() { ! ls -d /sys/class/iscsi_session/session* > /dev/null 2>&1; }

# ---- dm-multipath

MAP=   # the name of the map, once find_map found one
# The path groups as `multipath -ll` has them: one line each, "PRIO STATUS DISK...", best first.
path_groups() {
  multipath -ll "$MAP" 2> /dev/null | awk '
    /policy=/ {if (line != "") print line; match($0, /prio=-?[0-9]+/); prio = substr($0, RSTART + 5, RLENGTH - 5)
               match($0, /status=[a-z]+/); line = prio " " substr($0, RSTART + 7, RLENGTH - 7); next}
    / sd[a-z]+ / {for (i = 1; i <= NF; ++i) if ($i ~ /^sd[a-z]+$/) line = line " " $i}
    END {if (line != "") print line}'
}
groups_are() { path_groups > "$LAB/groups"; [ "$(tr '\n' ';' < "$LAB/groups")" = "$1" ]; }
active_disk_is() { path_groups | grep -qE "^-?[0-9]+ active $1\$"; }
written() { awk '{print $7}' "/sys/block/$1/stat"; }  # sectors
grows() { local before=$2; [ "$(written "$1")" -gt $((before + 64)) ]; }
find_map() { MAP=$(multipathd show maps raw format "%n" 2> /dev/null | head -1); [ -n "$MAP" ] && [ -b "/dev/mapper/$MAP" ]; }

prepare_multipath() {
  # multipathd lives on udev's events and its names. Elsewhere udev is left out: its probes of each new disk cost time.
  /lib/systemd/systemd-udevd --daemon 2> /dev/null
  modprobe -a dm_multipath dm_service_time scsi_dh_alua
  cat > /etc/multipath.conf << 'CONF'
defaults {
  find_multipaths no
  user_friendly_names no
  path_grouping_policy group_by_prio
  failback immediate
  polling_interval 1
  max_polling_interval 2
  no_path_retry 30
  verbosity 2
}
blacklist {
  devnode "^(vd|nbd|loop|ram)"
}
CONF
}
start_multipathd() {
  multipathd -d -s > "$LAB/multipathd.log" 2>&1 &
  MULTIPATHD=$!
}

# ---- LIO, the kernel's own target

# lio_begin IQN DEVICE PORTAL...: serves the block device as LUN 0 there, to everybody. Its sockets are made in the target's
# namespace, where the lab's portals are.
lio_begin() {
  local iqn=$1 device=$2 config=/sys/kernel/config/target portal; shift 2
  local unit=$config/core/iblock_0/${device##*/} group=$config/iscsi/$iqn/tpgt_1
  modprobe -a iscsi_target_mod target_core_iblock
  mount -t configfs configfs /sys/kernel/config 2> /dev/null
  mkdir -p "$config/iscsi" "$unit"
  echo "udev_path=$device" > "$unit/control" && echo 1 > "$unit/enable" && echo 0123456789 > "$unit/wwn/vpd_unit_serial" || die "LIO does not take $device"
  mkdir -p "$group/lun/lun_0" && ln -s "$unit" "$group/lun/lun_0/disk" || die "LIO makes no LUN"
  echo 0 > "$group/attrib/authentication"
  echo 0 > "$group/attrib/demo_mode_write_protect"
  echo 1 > "$group/attrib/generate_node_acls"
  echo 1 > "$group/attrib/cache_dynamic_acls"
  echo 1 > "$group/enable"
  for portal in "$@"; do nsenter -t "$NS_T" -n mkdir "$group/np/$portal" || die "LIO cannot listen at $portal"; done
}
