// A pair in good order, seen from its primary, for tests to bend.
#pragma once

#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

inline constexpr std::uint64_t mib = 1 << 20;

inline ClusterStatus good_status() {
  using std::chrono::milliseconds;
  ClusterStatus status{.name = "store", .self = Member::a, .joined = true, .serving = true};
  status.view = {.number = 7, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  status.lease_left = milliseconds(380);
  status.witness_configured = status.witness_heard = status.peer_heard = true;
  status.virtual_address = "10.0.0.10/24";
  status.virtual_address_here = true;
  status.links = {{Member::b, "10.1.0.1:7788", "10.1.0.2:7788", true, milliseconds(42), 1200, 1180, 0},
                  {Member::witness, "10.1.0.1:7788", "10.1.0.3:7788", true, milliseconds(17), 1200, 1199, 0}};
  CopyStatus copy{.unit = "disk", .connection = "Connected", .local_disk = "UpToDate", .peer_disk = "UpToDate"};
  copy.size_bytes = 64 * mib;
  copy.sent_bytes = 10 * mib;
  copy.written_bytes = 9 * mib;
  copy.read_bytes = 5 * mib;
  copy.pending = 3;
  copy.links = {{"10.1.0.1:7788", "10.1.0.2:7788", true, "tls", 9 * mib, 2048},
                {"10.2.0.1:7788", "10.2.0.2:7788", false, "", mib, 1024}};
  copy.links_lost = 1;
  copy.sent_again = 17;
  status.copies = {copy};
  return status;
}

// Its peer came back and is being filled.
inline ClusterStatus filling_status() {
  ClusterStatus status = good_status();
  status.view = {.number = 8, .primary = Member::a, .in_sync = {Member::a}};
  status.lease_left.reset();
  status.alarms = {"node b is not in sync: a failure of node a stops the pair until it is back"};
  CopyStatus& copy = status.copies[0];
  copy.peer_disk = "Inconsistent";
  copy.dirty_bytes = copy.to_fill_bytes = 48 * mib + 512 * 1024;
  copy.fill_total_bytes = 64 * mib;
  copy.fill_bytes_per_second = 101.0 * 1024 * 1000;
  copy.fill_eta = std::chrono::seconds(21);
  return status;
}

inline ClusterConfig sample_config() {
  ClusterConfig config{.name = "store"};
  config.addresses[0] = {{"10.1.0.1", 7788}};
  config.addresses[1] = {{"10.1.0.2", 7788}};
  config.witness = {{"10.1.0.3", 7788}};
  config.virtual_ips = {{.address = "10.0.0.10", .prefix = 24}};
  return config;
}

}  // namespace mpath::target::cluster
