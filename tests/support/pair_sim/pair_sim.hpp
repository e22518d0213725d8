// A pair and its witness in one thread, from a seed: the real agreement (NodeFsm, WitnessFsm), the real copies
// (Replica, DirtyMap) and what stands between them (Roles), over simulated clocks, links, disks and clients.
//
//    clients ── write, read, change of state ──► node a ◄── stream ──► node b
//                                                  └──── agreement ── witness ────┘
//
// What goes wrong: loss, delay, repetition and reordering of messages, broken connections, one-way and complete cuts,
// pauses, clocks of different rate, disks that fail, ends of processes (memory kept) and of power (what was not
// synchronised is gone in part; pages and writes under way are torn).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "target/replication/node_fsm.hpp"
#include "wire/replication_stream.hpp"

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
  compare_apart,      // others may write between the comparison and the write of a COMPARE AND WRITE
  // Of protocols A and B.
  flush_apart,            // a flush is answered when the primary has flushed
  disordered_stream,      // the stream delivers later writes before earlier ones
  wide_window,            // more is answered than may be lost
  hasty_receipt,          // B: the peer counts as having received what is merely sent
  trust_killed_follower,  // ... and what it had received as kept when its process ends
};

[[nodiscard]] const char* name(Bug bug);
struct Planted {
  Bug bug = Bug::none;
  Protocol protocol = Protocol::c;
};
inline constexpr Planted bugs[] = {{Bug::ack_before_peer},
                                   {Bug::skip_outdating},
                                   {Bug::ignore_lease},
                                   {Bug::forget_votes},
                                   {Bug::trust_lost_memory},
                                   {Bug::lose_dirty_map},
                                   {Bug::dirty_reads},
                                   {Bug::compare_apart},
                                   {Bug::hasty_receipt, Protocol::b},
                                   {Bug::trust_killed_follower, Protocol::b},
                                   {Bug::lose_dirty_map, Protocol::a},
                                   {Bug::dirty_reads, Protocol::a},
                                   {Bug::flush_apart, Protocol::a},
                                   {Bug::disordered_stream, Protocol::a},
                                   {Bug::wide_window, Protocol::a}};

struct SimOptions {
  std::uint64_t seed = 1;
  bool witness = true;
  PeerLoss on_peer_loss = PeerLoss::freeze;
  Protocol protocol = Protocol::c;
  Bug bug = Bug::none;
  Duration storm = std::chrono::seconds(20);  // how long things go wrong before all is mended
  bool trace = false;                         // tell what happens, though nothing is violated
};

struct SimResult {
  std::string violation;           // empty: the invariants held
  std::vector<std::string> trace;  // the last events before it; without one, when they were asked for
  std::uint64_t writes_acknowledged = 0, reads_answered = 0, states_acknowledged = 0, views = 0, events = 0,
                takeovers = 0, power_cuts = 0, kills = 0, failed_disks = 0, splits = 0, compares = 0, flushes = 0,
                lost = 0;            // answered writes, as protocol A may
  void add(const SimResult& other);  // the figures
};

// What a pair may be configured to be.
struct Setting {
  const char* name;
  SimOptions options;
};
inline constexpr Setting settings[] = {
    {"witness", {.witness = true}},
    {"freeze", {.witness = false, .on_peer_loss = PeerLoss::freeze}},
    {"fence", {.witness = false, .on_peer_loss = PeerLoss::fence}},
    {"continue", {.witness = false, .on_peer_loss = PeerLoss::proceed}},
};

[[nodiscard]] SimResult simulate(const SimOptions& options);

}  // namespace mpath::target::replication::test
