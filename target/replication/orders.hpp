// What the agreement wants of a unit's copy on this node, and what the copy has to say. Both are whole values: the
// latest counts, and either may be said again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "wire/replication.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

enum class CopyRole : std::uint8_t {
  rest,    // nothing is taken from anybody
  follow,  // the peer's stream is taken
  lead,    // initiators' commands are taken
};

struct Orders {
  std::uint64_t term = 0;  // grows with each change of role; reports of older terms do not count
  std::uint64_t seen = 0;  // the number of the latest report that was taken into account
  CopyRole role = CopyRole::rest;
  bool peer_needed = false;            // lead: a write is not answered before the peer has it
  bool peer_in_sync = false;           // lead: the peer holds all that was answered and needs no filling
  bool may_fill = false;               // lead: what is here is all there is, and the peer may be made equal to it
  std::uint64_t peer_incarnation = 0;  // lead: the life of the peer that a stream may lead to; 0: none
  bool operator==(const Orders&) const = default;
};

struct Report {
  std::uint64_t term = 0;
  std::uint64_t number = 0;             // grows with each report
  bool ready = false;                   // nothing of an earlier role is under way
  std::optional<std::uint64_t> filled;  // lead: the life of the peer that holds everything; all writes wait for it
  bool peer_lost = false;               // lead: the peer is needed and cannot be reached, or its medium fails
  bool medium_failed = false;           // the copy here cannot be used any more
  bool medium_hangs = false;            // ... and what it was given may never end
  bool whole = false;                   // follow: the leader said that nothing differs, and it is on the medium
  bool wants_stream = false;            // lead: there is no stream to the peer
  std::string trouble;                  // for people
  bool operator==(const Report&) const = default;
};

}  // namespace mpath::target::replication
