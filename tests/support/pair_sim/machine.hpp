// A member of the pair on its host: what of it is durable, and its lives, each with the real agreement and, on a data
// node, a copy.
#pragma once

#include <deque>
#include <memory>

#include "target/replication/witness_fsm.hpp"
#include "tests/support/pair_sim/copy.hpp"
#include "tests/support/pair_sim/pair.hpp"

namespace mpath::target::replication::test {

class Machine {
 public:
  Machine(Pair& pair, Member self);

  void start();
  void stop(bool power);
  // No command is taken any more; when none is under way the peer is to serve.
  void drain();
  void fail_disk();
  // An administrator gives up what is here: the node knows nothing any more, and starts.
  void join_anew();
  // A stream is taken: what comes by it may be answered before it is carried out here, so that from now on the process
  // must not end without order. Durable before the stream is.
  void note_follows();

  [[nodiscard]] bool up() const { return pair_.world.up(self_); }
  [[nodiscard]] bool serves() const { return copy_ != nullptr && copy_->serves(); }
  [[nodiscard]] bool takes_commands() const { return serves() && !draining_; }
  [[nodiscard]] bool suspect() const { return suspect_; }  // as the boot identifier in the metadata would tell
  [[nodiscard]] const VoteRecord& record() const { return record_; }
  // In this life; null: there is none.
  [[nodiscard]] NodeFsm* fsm() const { return fsm_.get(); }
  [[nodiscard]] Copy* copy() const { return copy_.get(); }
  [[nodiscard]] SimMedia& media() { return media_; }
  [[nodiscard]] TimePoint local() const { return pair_.world.local(self_); }

  // After each event of the agreement: does what the logic wants, in order; what rests on a record waits until that is
  // durable.
  void follow();

 private:
  void tick();
  void settle();
  void act(Action action);
  void send(const Send& send);
  void persist(const VoteRecord& record);
  void fence();
  void hear(const Message& message);

  Pair& pair_;
  const Member self_;
  // Durable.
  VoteRecord record_;
  bool suspect_ = false;
  bool follows_early_ = false;
  SimMedia media_;
  // Of this life.
  std::unique_ptr<NodeFsm> fsm_;
  std::unique_ptr<WitnessFsm> witness_;
  bool persisting_ = false;
  bool draining_ = false;
  unsigned fences_ = 0;  // handlers that were started
  std::deque<Action> held_back_;  // behind a record that is being written
  std::unique_ptr<Copy> copy_;
};

}  // namespace mpath::target::replication::test
