// What the shell shows: plain values, taken on the shard and handed to the control thread. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mpath {

enum class DmState : std::uint8_t { undef, active, failed };         // %t of a path: as the map sees it
enum class CheckerState : std::uint8_t { undef, ready, faulty, shaky, ghost, pending, timeout, removed, disconnected };  // %T
enum class GroupState : std::uint8_t { undef, enabled, active, disabled };

struct PathSnapshot {
  std::string device;       // %d: our name for the path, sdX-like: "p0", "p1" ...; stable while the path exists
  unsigned host = 0;        // %i = host:channel:id:lun; host is the session's SID
  unsigned channel = 0;
  unsigned id = 0;
  std::uint64_t lun = 0;
  std::string dev_t;        // %D major:minor, "0:N": there is no kernel device
  DmState dm_state = DmState::undef;
  CheckerState checker_state = CheckerState::undef;
  std::string device_state = "running";  // %o: running, offline, blocked
  std::string checker;      // %c
  int priority = 1;         // %p
  unsigned next_check = 0;       // %C: seconds since the last check ...
  unsigned check_interval = 0;   // ... of so many
  std::string map;          // %m: alias; empty = orphan
  std::string wwid;         // %w
  std::string vendor, product, revision;  // %s
  std::string serial;       // %z
  std::uint64_t size_bytes = 0;  // %S
  std::string target_name;  // %n: the target's node name
  std::string initiator_name; // %N
  std::optional<std::uint16_t> port_group;  // %A: target port group (ALUA)
  std::string portal;       // address:port,tpgt
  std::string iface;        // iface.iscsi_ifacename
  std::string net_ifacename;
  std::uint64_t failures = 0;    // %0
  std::string protocol = "scsi:iscsi";  // %P
  std::string init_state = "ok"; // %I
  std::string vpd_data;     // %g
  std::uint32_t max_sectors_kb = 0;  // %k
  std::uint32_t in_flight = 0;
  std::uint64_t read_ios = 0, write_ios = 0, read_bytes = 0, write_bytes = 0;
};

struct GroupSnapshot {
  std::string selector;     // "service-time 0"
  int priority = 0;
  GroupState state = GroupState::undef;
  std::vector<PathSnapshot> paths;
};

struct MapSnapshot {
  std::string name;         // %n alias
  std::string wwid;         // %w uuid
  std::string sysfs;        // %d: "nbd/ALIAS.sock"-like name of the export; multipath prints dm-N here
  std::string failback;     // %F immediate | manual
  std::string queueing;     // %Q off | on | - | "N chk" | "N sec"
  bool read_only = false;   // %r
  std::string dm_state = "active";  // %t active | suspended | undef
  std::uint64_t size_bytes = 0;     // %S
  std::string features = "0";       // %f
  std::string hwhandler = "0";      // %h
  std::string action;               // %A
  std::string vendor, product, revision;
  std::uint64_t map_failures = 0;   // %x: times that I/O was failed for want of a path
  std::uint64_t path_faults = 0;    // %0
  std::uint64_t switch_group = 0;   // %1
  std::uint64_t map_loads = 0;      // %2
  std::uint64_t total_queue_seconds = 0;  // %3
  std::uint64_t queue_timeouts = 0;       // %4
  std::uint64_t queued = 0;         // requests waiting for a path now
  std::vector<std::string> exports; // how it can be reached: "unix:/run/mpathd/nbd/ALIAS.sock"
  std::vector<GroupSnapshot> groups;
};

struct Snapshot {
  std::vector<MapSnapshot> maps;
  std::vector<PathSnapshot> orphans;  // paths of no map: identity unknown, blacklisted, failed the identity check
};

}  // namespace mpath
