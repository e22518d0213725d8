#include "tests/support/pair_sim/machine.hpp"

#include <algorithm>
#include <utility>
#include <variant>

namespace mpath::target::replication::test {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

Machine::Machine(Pair& pair, Member self) : pair_(pair), self_(self) {
  record_.decided = {.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  Copy::format(media_);
}

// ---- lives ---------------------------------------------------------------------------------------------------------

void Machine::start() {
  World& world = pair_.world;
  world.start(self_);
  world.note("{} starts{} record={}", name(self_), suspect_ ? " suspect" : "", format_view(record_.decided));
  if (self_ == Member::witness) {
    witness_ = std::make_unique<WitnessFsm>(record_, NodeOptions().lease, world.life(self_), local());
    return;
  }
  const NodeOptions options{
      .self = self_, .witness = pair_.options.witness, .on_peer_loss = pair_.options.on_peer_loss};
  const bool admits = suspect_ && pair_.options.bug != Bug::trust_lost_memory;
  fsm_ = std::make_unique<NodeFsm>(options, record_, admits, world.life(self_), local());
  copy_ = std::make_unique<Copy>(pair_, self_, *this);
  tick();
}

void Machine::stop(bool power) {
  World& world = pair_.world;
  if (!up()) return;
  world.note("{} {}", name(self_), power ? "loses power" : "is killed");
  world.stop(self_);
  if (copy_ != nullptr) {
    copy_->end(power);
    copy_.reset();
  }
  fsm_.reset();
  witness_.reset();
  persisting_ = false;
  held_back_.clear();
  draining_ = false;
  ++(power ? pair_.result.power_cuts : pair_.result.kills);
  // As if answers had left before the record was durable.
  if (pair_.options.bug == Bug::forget_votes) {
    record_.promised = {};
    record_.accepted.reset();
  }
  const bool forgot = follows_early_ && pair_.options.bug != Bug::trust_killed_follower;
  if ((!power && !forgot) || self_ == Member::witness) return;
  // As the metadata would say: it does not know whether anything was in the cache.
  suspect_ = true;
  pair_.lost_memory();
}

void Machine::drain() {
  if (up() && fsm_ && fsm_->primary()) draining_ = true;
}

void Machine::fail_disk() {
  if (copy_ == nullptr || media_.disk.fails) return;
  pair_.world.note("the disk of {} fails", name(self_));
  media_.disk.fails = true;
  ++pair_.result.failed_disks;
}

void Machine::note_follows() {
  follows_early_ = pair_.options.protocol != Protocol::c;
}

void Machine::join_anew() {
  stop(false);
  record_ = {};
  suspect_ = true;
  Copy::mark_all(media_);
  start();
}

// ---- the agreement -------------------------------------------------------------------------------------------------

void Machine::tick() {
  fsm_->on_time(local());
  follow();
  const Duration wait = std::clamp<Duration>(fsm_->wake_at() - local(), milliseconds(1), milliseconds(50));
  pair_.world.in(self_, wait, [this] { tick(); });
}

void Machine::follow() {
  if (fsm_) settle();
  auto actions = fsm_ ? fsm_->take_actions() : witness_->take_actions();
  for (Action& action : actions) {
    const auto* const send = std::get_if<Send>(&action);
    const bool free = send != nullptr && !send->after_persist;
    if (!free && persisting_) {
      held_back_.push_back(std::move(action));
    } else {
      act(std::move(action));
    }
  }
}

void Machine::settle() {
  copy_->roles().update(local());
  if (draining_ && copy_->idle() && copy_->confirmed()) {
    draining_ = false;
    if (fsm_->hand_over(local())) pair_.world.note("{} hands over", name(self_));
  }
  copy_->give_orders();
  pair_.learned(self_, fsm_->view());
  if (!fsm_->primary()) draining_ = false;
  // Whatever came is carried out.
  if (copy_->roles().leads() && copy_->roles().ready()) follows_early_ = false;
  const bool was_suspect = suspect_;
  suspect_ = fsm_->suspect() || (suspect_ && pair_.options.bug == Bug::trust_lost_memory);
  if (suspect_ && !was_suspect) pair_.lost_memory();
  copy_->dial_if_wanted();
}

void Machine::act(Action action) {
  if (const auto* const message = std::get_if<Send>(&action)) {
    send(*message);
  } else if (const auto* const write = std::get_if<Persist>(&action)) {
    persist(write->record);
  } else {
    fence();
  }
}

void Machine::send(const Send& send) {
  Machine& receiver = pair_.at(send.to);
  pair_.world.deliver(self_, send.to, [&receiver, message = send.message] { receiver.hear(message); });
}

void Machine::hear(const Message& message) {
  if (fsm_) fsm_->on_message(message, local());
  if (witness_) witness_->on_message(message, local());
  follow();
}

void Machine::persist(const VoteRecord& record) {
  World& world = pair_.world;
  persisting_ = true;
  const auto& vote = record.accepted;
  if (vote && vote->ballot.proposer == self_ && !suspect_) pair_.views.proposed_soundly(vote->view);
  world.in(self_, microseconds(200 + world.roll(world.chance(5) ? 60000 : 2000)), [this, record] {
    // Some lives end just before a record is written, or when it was and nobody has heard of it.
    const auto end = pair_.mended ? 99 : pair_.world.roll(100);
    if (end == 0) return stop(pair_.world.chance(50));
    record_ = record;
    if (end == 1) return stop(pair_.world.chance(50));
    persisting_ = false;
    for (Action& next : std::exchange(held_back_, {})) {
      if (persisting_) {
        held_back_.push_back(std::move(next));
      } else {
        act(std::move(next));
      }
    }
  });
}

// A handler that says yes has switched the peer off. One that was ended may have done so all the same.
void Machine::fence() {
  World& world = pair_.world;
  world.in(self_, milliseconds(20 + world.roll(2000)), [this, run = ++fences_] {
    const bool ended = run != fences_ || !fsm_->awaits_fence();
    const bool works = pair_.world.chance(ended ? 5 : 80);
    if (works) {
      const Member peer = peer_of(self_);
      pair_.at(peer).stop(true);
      pair_.fenced = peer;
      // The administrator switches it on again; with the last time's clock, so that it may be back at once.
      pair_.world.after(seconds(4), [this, peer] {
        if (!pair_.at(peer).up() && pair_.mended) pair_.at(peer).start();
      });
    }
    if (ended) return;
    fsm_->on_fenced(works, local());
    follow();
  });
}

}  // namespace mpath::target::replication::test
