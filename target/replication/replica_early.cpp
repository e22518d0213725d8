// Protocols A and B: a write is answered before the peer has it. What it writes is copied, because its sender's memory
// goes back with the answer; its range stays locked until the peer has it, and it is sent again if the stream breaks.
#include <algorithm>
#include <utility>

#include "target/replication/replica.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::size_t early_max = 1 << 14;  // writes; with their answers well below what a stream keeps

}  // namespace

void Replica::set_protocol(Protocol protocol, std::uint64_t window) {
  wanted_ = protocol;
  window_ = window;
  tell_protocol();
  settle_all();
}

// Who is told C, or speaks an older version, says nothing: the other one takes it for C.
void Replica::tell_protocol() {
  if (stream_ == nullptr || stream_->version() < 3) return;
  if (std::exchange(told_protocol_, wanted_) == wanted_) return;
  stream_->send({.op = StreamOp::protocol, .sequence = static_cast<std::uint64_t>(wanted_)}, {});
}

Protocol Replica::protocol() const {
  return stream_ == nullptr ? wanted_ : std::max(wanted_, of_peer_);
}

// Before it goes anywhere. Beyond the window it is answered when the peer has it.
void Replica::take_early(Op& op) {
  if (!stream_ready_ || protocol() == Protocol::c || is_barrier(op)) return;
  if (early_count_ >= early_max || early_bytes_ > window_ || op.length > window_ - early_bytes_) return;
  op.early = true;
  ++early_count_;
  early_bytes_ += op.length;
  if (!op.data.empty()) op.data = op.copy.make(seams_.buffers, op.data, op.length);
}

// While the peer is to have it and does not: also by the lease, because a peer that has moved on is not asked.
bool Replica::may_answer_early(const Op& op) const {
  if (!op.early || op.answered || op.status != BlockStatus::ok || !stream_ready_) return false;
  switch (protocol()) {
    case Protocol::a:
      if (!op.sent) return false;
      break;
    case Protocol::b:
      if (!op.received) return false;
      break;
    case Protocol::c:
      return false;
  }
  return seams_.serving.may_answer(seams_.clock.now());
}

void Replica::answer_early(Op& op) {
  op.answered = true;
  unconfirmed_bytes_ += op.length;
  op.older = newest_;
  while (op.older != nullptr && op.older->head.sequence > op.head.sequence) op.older = op.older->older;
  op.newer = op.older != nullptr ? op.older->newer : oldest_;
  (op.older != nullptr ? op.older->newer : oldest_) = &op;
  (op.newer != nullptr ? op.newer->older : newest_) = &op;
  BlockRequest& upper = *std::exchange(op.upper, nullptr);
  upper.status = BlockStatus::ok;
  upper.done(upper);
}

// The peer has it, or is not waited for any more.
void Replica::confirmed(Op& op) {
  (op.older != nullptr ? op.older->newer : oldest_) = op.newer;
  (op.newer != nullptr ? op.newer->older : newest_) = op.older;
  op.older = op.newer = nullptr;
  op.answered = false;
  unconfirmed_bytes_ -= op.length;
}

void Replica::on_received(const StreamHead& head) {
  const std::size_t slot = head.sequence % slots_max;
  if (slot >= ops_.size()) return;
  Op& op = *ops_[slot];
  if (op.stage != Op::Stage::running || op.head.sequence != head.sequence) return;
  op.received = true;
  settle(op);
}

// ---- what waits for those before it --------------------------------------------------------------------------------

// Answered when both have it and everything that was answered before it came: an initiator that waits for one of these
// may rely on all that it did before, whoever serves then.
bool Replica::is_barrier(const Op& op) {
  switch (op.kind) {
    case Op::Kind::flush:
    case Op::Kind::state:
      return true;
    case Op::Kind::write:
      return op.fua || op.atomic || op.on_all_copies;
    case Op::Kind::read:
    case Op::Kind::clean:
    case Op::Kind::fill_read:
    case Op::Kind::fill_sums:
    case Op::Kind::fill_write:
    case Op::Kind::fill_end:
      return false;
  }
  return false;
}

bool Replica::is_behind(const Op& op) const {
  return oldest_ != nullptr && oldest_->head.sequence < op.head.sequence;
}

void Replica::bar(Op& op) {
  if (std::exchange(op.barred, true)) return;
  barred_.push_back(&op);
}

// Something was confirmed. An end of one of these may begin others.
void Replica::look_at_barred() {
  for (std::size_t at = 0; at < barred_.size();) {
    Op& op = *barred_[at];
    if (is_behind(op)) {
      ++at;
      continue;
    }
    op.barred = false;
    barred_.erase(barred_.begin() + static_cast<std::ptrdiff_t>(at));
    if (op.stage == Op::Stage::behind) {
      run(op);
    } else {
      settle(op);
    }
    at = 0;
  }
  if (oldest_ != nullptr) return;
  for (const auto& done : std::exchange(when_confirmed_, {})) done();
}

void Replica::when_confirmed(std::function<void()> done) {
  if (oldest_ == nullptr) return done();
  when_confirmed_.push_back(std::move(done));
}

}  // namespace mpath::target::replication
