// A node's copy in one of its lives: the real Replica and Roles over simulated media, and what the shell of a daemon
// does for them: orders and reports on their way, streams, commands of clients.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "target/replication/replica.hpp"
#include "target/replication/roles.hpp"
#include "target/scsi/range_locks.hpp"
#include "tests/support/pair_sim/pair.hpp"

namespace mpath::target::replication::test {

class Copy {
 public:
  // What it holds is on the media; `machine` has the agreement of this life.
  Copy(Pair& pair, Member self, Machine& machine);
  ~Copy();
  // The process ends, or the power: what was under way is carried out in part.
  void end(bool power);

  // The shape of the copy, and media on which both copies are equal.
  [[nodiscard]] static DirtyMap::Shape shape();
  static void format(SimMedia& media);
  // Everything may differ.
  static void mark_all(SimMedia& media);

  [[nodiscard]] Roles& roles() { return *roles_; }
  [[nodiscard]] bool serves() const { return serving_.may_answer(clock_.now()); }
  [[nodiscard]] bool idle() const { return requests_.empty() && cell_requests_.empty() && !changing_state_; }
  // Nothing is answered that the other node does not have.
  [[nodiscard]] bool confirmed() const { return replica_->counters().unconfirmed_bytes == 0; }
  [[nodiscard]] const LuState& state() const { return state_; }  // in force
  void give_orders();
  void dial_if_wanted();

  // --- commands of clients: to a node that takes them
  void read(std::size_t block);
  void write(const std::shared_ptr<Write>& write);
  void flush();
  // COMPARE AND WRITE of the cell, or a read of it: the blocks are locked as a logical unit does, from the first read
  // to the last write.
  void use_cell(const std::shared_ptr<CellOp>& op);
  [[nodiscard]] bool changing_state() const { return changing_state_; }
  void change_state(const LuState& next, std::function<void()> done);

 private:
  class LifeOf;
  class FaultyStream;
  class MortalStream;
  struct Request;
  struct CellRequest;

  void report(const Report& report);
  void take_connection(const std::shared_ptr<SimConnection>& connection, int side);
  void take_caller(Member caller, std::uint64_t life, std::uint64_t term);
  void command(std::size_t block, const std::shared_ptr<Write>& write);
  void answered(Request& request);
  void written(Write& write);
  void flushed(TimePoint begun);
  void cell_locked(CellRequest& request);
  void cell_read(CellRequest& request);
  void cell_ended(CellRequest& request, bool told);
  [[nodiscard]] bool peer_unheard() const;

  Pair& pair_;
  const Member self_;
  Machine& machine_;
  std::unique_ptr<Life> life_;
  LifeClock clock_;
  BufferPool buffers_{1 << 16};
  Serving serving_;
  SimStore store_;
  SimMapStore map_store_;
  SimStateLog state_log_;
  std::map<BlockRequest*, std::unique_ptr<Request>> requests_;
  RangeLocks locks_;  // of the unit above
  std::map<BlockRequest*, std::unique_ptr<CellRequest>> cell_requests_;
  std::unique_ptr<Roles> roles_;
  std::unique_ptr<Replica> replica_;
  std::deque<Report> reports_;
  std::deque<Orders> orders_;
  std::optional<Orders> given_;
  LuState state_;
  bool changing_state_ = false;
  bool dialing_ = false;
  std::vector<std::pair<std::weak_ptr<SimConnection>, int>> connections_;  // with our side
};

}  // namespace mpath::target::replication::test
