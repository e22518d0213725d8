// What there is to say about this node of a pair: for `mptargetctl cluster status`, scripts, and logs. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target::cluster {

using namespace mpath::replication;  // the words of the pair

struct LinkStatus {
  Member to = Member::b;
  std::string local, remote;  // ADDRESS:PORT
  bool heard = false;         // within the deadtime
  std::chrono::milliseconds silent{0};
  std::uint64_t sent = 0, received = 0, refused = 0;  // messages; refused: damaged, of another key, repeated
};

// One of the connections that the stream of a unit goes over.
struct StreamLinkStatus {
  std::string local, remote;
  bool up = false;
  std::string auth;                                  // as stream_auth has it: what is in force; of a link that is up
  std::uint64_t sent_bytes = 0, received_bytes = 0;  // since it came up
};

// One replicated unit, as this node's copy sees it.
struct CopyStatus {
  std::string unit;
  std::string connection;  // "Connected", "Connecting", "StandAlone", "Disconnected": drbdadm's words
  std::string local_disk;  // "UpToDate", "Inconsistent", "Outdated", "Failed"
  std::string peer_disk;   // the same, and "DUnknown"
  std::uint64_t size_bytes = 0;
  std::uint64_t dirty_bytes = 0;    // that the peer may lack
  std::uint64_t to_fill_bytes = 0;  // of them, still to be looked at by the resync under way
  std::uint64_t fill_total_bytes = 0;
  double fill_bytes_per_second = 0;  // over the last seconds
  std::optional<std::chrono::seconds> fill_eta;
  std::uint64_t sent_bytes = 0, received_bytes = 0, read_bytes = 0, written_bytes = 0;  // ns nr dr dw
  std::uint64_t pending = 0;               // writes the peer has not answered
  Protocol protocol = Protocol::c;         // in force: the stricter of what both nodes are told
  Protocol protocol_here = Protocol::c;    // what this node is told
  std::optional<Protocol> protocol_there;  // what the other one says, while there is a stream
  std::uint64_t unconfirmed_bytes = 0;     // answered here, and not confirmed by the peer
  std::vector<StreamLinkStatus> links;  // of the stream; none while there is no stream, or the peer knows one link only
  std::uint64_t links_lost = 0, sent_again = 0;  // of this stream; sent_again: messages
  std::string trouble;
};

struct Decision {
  std::chrono::system_clock::time_point at;
  View view;         // that was in force when it was written; a line about a new view stands under it
  std::string what;  // one line: what was decided or seen, and why
};

struct ClusterStatus {
  std::string name;
  Member self = Member::a;
  bool joined = false;   // false: neither init nor join was said yet
  bool serving = false;  // initiators are answered here
  View view;
  std::string waits_for;  // what keeps this node from serving; empty: nothing
  bool suspect = false;
  bool split = false;   // both nodes went on alone, and have met
  MemberSet held_back;  // nodes that do not take over by themselves: both in maintenance, one that stands by
  std::optional<std::chrono::milliseconds> lease_left;
  bool witness_configured = false, witness_heard = false, peer_heard = false;
  std::string virtual_address;  // empty: none configured
  bool virtual_address_here = false;
  std::vector<LinkStatus> links;
  std::vector<CopyStatus> copies;
  std::vector<std::string> alarms;  // split brain, degraded, no witness, a failed medium: each a line

  [[nodiscard]] bool maintenance() const { return held_back.size() == 2; }
};

}  // namespace mpath::target::cluster
