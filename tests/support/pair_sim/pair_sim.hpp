// A pair and its witness in one thread, from a seed: the real agreement (NodeFsm, WitnessFsm) over simulated clocks,
// links, disks and clients.
//
//    clients ── write, read ──► node a ◄── writes, filling ──► node b
//                                  └──── agreement ── witness ────┘
//
// The data path is a model that keeps the contract which INVARIANTS.md asks of it: it holds an answer until holders()
// have the write, and asks may_serve() before it answers. What goes wrong: loss, delay, repetition and reordering of
// messages, one-way and complete cuts, pauses, clocks of different rate, ends of processes (memory kept) and of power
// (unsynchronised writes and records gone).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "target/replication/node_fsm.hpp"
#include "target/replication/witness_fsm.hpp"

namespace mpath::target::replication::test {

// Bugs to plant: the simulator is worth what it finds.
enum class Bug : std::uint8_t {
  none,
  ack_before_peer,    // a write is answered when it is on the primary
  skip_outdating,     // ... or when the peer is lost, before that was decided
  ignore_lease,       // reads are answered without a lease
  forget_votes,       // the vote record is not kept over an end of power
  trust_lost_memory,  // a node that lost its cache says that it is sound
  lose_dirty_map,     // a returning node is not filled everywhere
  dirty_reads,        // reads do not wait for writes that are not everywhere
};

struct SimOptions {
  std::uint64_t seed = 1;
  bool witness = true;
  PeerLoss on_peer_loss = PeerLoss::freeze;
  Bug bug = Bug::none;
  Duration storm = std::chrono::seconds(20);  // how long things go wrong before all is mended
};

struct SimResult {
  std::string violation;           // empty: the invariants held
  std::vector<std::string> trace;  // the last events before it
  std::uint64_t writes_acknowledged = 0, reads_answered = 0, views = 0, events = 0, takeovers = 0, power_cuts = 0,
                kills = 0;
};

[[nodiscard]] SimResult simulate(const SimOptions& options);

}  // namespace mpath::target::replication::test
