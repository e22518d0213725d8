// A copy that leads: initiators' commands go to both.
#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "target/replication/replica.hpp"
#include "target/scsi/unit_error.hpp"

namespace mpath::target::replication {
Replica::Op& Replica::take_op(Op::Kind kind) {
  if (free_ops_.empty()) {
    ops_.push_back(std::make_unique<Op>());
    Op& made = *ops_.back();
    made.owner = this;
    made.slot = static_cast<std::uint32_t>(ops_.size() - 1);
    CHECK(made.slot < slots_max);
    made.lock.owner = &made;
    made.lock.granted = on_lock;
    made.done = on_local;
    free_ops_.push_back(&made);
  }
  Op& op = *free_ops_.back();
  free_ops_.pop_back();
  ++active_ops_;
  op.kind = kind;
  op.stage = Op::Stage::locking;
  op.local_done = op.peer_done = op.sent = op.atomic = op.parked = false;
  op.early = op.received = op.answered = op.barred = false;
  op.fua = op.on_all_copies = false;
  op.may_unmap = true;
  op.fast_only = false;
  op.status = BlockStatus::ok;
  op.upper = nullptr;
  op.job = nullptr;
  op.head = {};
  op.head.sequence = ++next_sequence_ * slots_max + op.slot;
  return op;
}

void Replica::put_op(Op& op) {
  op.stage = Op::Stage::idle;
  op.data = {};
  if (op.early) --early_count_, early_bytes_ -= op.length;
  op.copy.reset();
  --active_ops_;
  free_ops_.push_back(&op);
  if (changing_ || closed_) look_whether_drained();
}

// ---- from above ----------------------------------------------------------------------------------------------------

void Replica::submit(BlockRequest& request) noexcept {
  take(request, false);
}

void Replica::submit_atomic(BlockRequest& request) noexcept {
  take(request, true);
}

void Replica::take(BlockRequest& request, bool atomic) {
  if (!leading() || changing_ || closing_) {
    request.status = BlockStatus::shutdown;
    return request.done(request);
  }
  switch (request.op) {
    case BlockOp::read:
    case BlockOp::prefetch:
    case BlockOp::extents: {
      Op& op = take_op(Op::Kind::read);
      op.op = request.op;
      op.offset = request.offset;
      op.length = request.length;
      op.data = request.data;
      op.extents = request.extents;
      op.extents_max = request.extents_max;
      op.upper = &request;
      return take_lock(op, request.offset, request.length, false);
    }
    case BlockOp::write:
    case BlockOp::write_zeroes:
    case BlockOp::trim: {
      Op& op = take_op(Op::Kind::write);
      // After a trim each medium could hold what it likes: zeroes are the same on both.
      const bool zero = request.op != BlockOp::write;
      op.op = zero ? BlockOp::write_zeroes : BlockOp::write;
      op.fua = request.fua;
      op.on_all_copies = request.on_all_copies;
      op.may_unmap = request.op == BlockOp::trim || request.may_unmap;
      op.fast_only = request.op == BlockOp::write_zeroes && request.fast_only;
      op.offset = request.offset;
      op.length = request.length;
      op.data = request.data;
      op.upper = &request;
      op.atomic = atomic;
      op.head.op = zero ? StreamOp::zero : StreamOp::write;
      op.head.fua = request.fua;
      op.head.atomic = atomic;
      op.head.may_unmap = zero && op.may_unmap;
      op.head.offset = request.offset;
      op.head.length = request.length;
      op.head.body_bytes = zero ? 0 : static_cast<std::uint32_t>(request.length);
      return take_lock(op, request.offset, request.length, true);
    }
    case BlockOp::flush: {
      Op& op = take_op(Op::Kind::flush);
      op.op = BlockOp::flush;
      op.upper = &request;
      op.head.op = StreamOp::flush;
      // On both media is everything that was answered before: what the peer does not have yet comes there first.
      if (!is_behind(op)) return run(op);
      op.stage = Op::Stage::behind;
      return bar(op);
    }
  }
}

void Replica::set_text(Op& op) {
  op.text = state_text_;
  op.text_part = {.iov_base = op.text.data(), .iov_len = op.text.size()};
  op.data = {&op.text_part, 1};
  op.head.op = StreamOp::state;
  op.head.body_bytes = static_cast<std::uint32_t>(op.text.size());
}

void Replica::commit(const LuState& after, StateLog::Done done) {
  if (!leading() || changing_ || closing_) return done(make_error_code(UnitErrc::elsewhere));
  Op& op = take_op(Op::Kind::state);
  const std::string before = std::exchange(state_text_, encode_lu_state(after));
  set_text(op);
  op.state_done = std::move(done);
  op.stage = Op::Stage::running;
  if (stream_ready_) send(op);
  // The log calls back once, at once or later; the op stays until then.
  seams_.local_state.commit(after, [this, &op, before](error_code error) {
    if (error) state_text_ = before;
    op.status = error ? BlockStatus::io_error : BlockStatus::ok;
    op.local_done = true;
    settle(op);
  });
}

// ---- a command's way -----------------------------------------------------------------------------------------------

void Replica::take_lock(Op& op, std::uint64_t offset, std::uint64_t length, bool exclusive) {
  op.stage = Op::Stage::locking;
  op.lock.first = offset;
  op.lock.count = length;
  op.lock.exclusive = exclusive;
  if (locks_.lock(op.lock)) locked(op);
}

void Replica::on_lock(RangeLock& lock) noexcept {
  Op& op = *static_cast<Op*>(lock.owner);
  op.owner->locked(op);
}

void Replica::locked(Op& op) {
  if (!leading() || changing_) return finish(op, BlockStatus::shutdown);
  if (op.kind != Op::Kind::write) return run(op);
  const ExtentRange range = map_.extents_of(op.offset, op.length);
  for (std::uint64_t extent = range.first; extent < range.last; ++extent) touched_[extent] = true;
  if (map_.durable(range)) return run(op);
  op.stage = Op::Stage::marking;
  map_.mark(range);
  write_map();
}

void Replica::run(Op& op) {
  op.stage = Op::Stage::running;
  if (op.kind == Op::Kind::write) take_early(op);
  if (op.kind != Op::Kind::read && stream_ready_) send(op);
  if (op.atomic) {
    seams_.local.submit_atomic(op);
  } else {
    seams_.local.submit(op);
  }
}

void Replica::on_local(BlockRequest& request) noexcept {
  Op& op = static_cast<Op&>(request);
  op.owner->local_ended(op);
}

void Replica::local_ended(Op& op) {
  op.local_done = true;
  if (op.kind == Op::Kind::fill_read) {
    FillJob& job = *op.job;
    const BlockStatus status = op.status;
    put_op(op);
    return chunk_read(job, status);
  }
  if (op.upper != nullptr && op.kind == Op::Kind::read && op.op == BlockOp::read) read_bytes_ += op.length;
  if (op.kind == Op::Kind::write) written_bytes_ += op.length;
  settle(op);
}

void Replica::send(Op& op) {
  op.sent = true;
  op.sent_at = seams_.clock.now();
  op.head.receipt = op.early && !op.answered && protocol() == Protocol::b;
  sent_bytes_ += op.head.body_bytes;
  stream_->send(op.head, op.data);
}

// A new stream: what the peer may not have comes once more. It does no harm if it has it: nothing else was written
// there meanwhile, because the range is locked. What was answered before another came is sent before it.
void Replica::send_all() {
  in_order_.clear();
  for (const auto& op : ops_) {
    const bool waits = op->stage == Op::Stage::running && op->kind != Op::Kind::read && !op->peer_done;
    if (waits && op->job == nullptr) in_order_.push_back(op.get());
  }
  std::ranges::sort(in_order_, {}, [](const Op* op) { return op->head.sequence; });
  for (Op* const op : in_order_) {
    if (stream_ != nullptr) send(*op);
  }
}

void Replica::settle_all() {
  for (std::size_t at = 0; at < ops_.size(); ++at) {
    if (ops_[at]->stage == Op::Stage::running) settle(*ops_[at]);
  }
}

// Answers it if it may be answered.
void Replica::settle(Op& op) {
  if (op.stage != Op::Stage::running || !op.local_done) return;
  if (!leading() || changing_) return finish(op, BlockStatus::shutdown);
  if (op.kind == Op::Kind::clean) {
    if (!op.peer_done && stream_ != nullptr) return;
    const bool both = op.peer_done && op.status == BlockStatus::ok;
    finish(op, op.status);
    return cleaned(both);
  }
  if (op.job != nullptr) return;  // ended by its job
  const bool peer_holds_all = orders_.peer_in_sync && orders_.peer_needed;
  if (op.status == BlockStatus::io_error && peer_holds_all) {
    // Whoever leads next has it: the command is kept until then.
    return local_failed(op.kind == Op::Kind::read ? "it cannot be read" : "it cannot be written");
  }
  if (op.kind == Op::Kind::read) {
    if (!seams_.serving.may_answer(seams_.clock.now())) {
      if (!op.parked) ++parked_;
      op.parked = true;
      return set_tick();
    }
    return finish(op, op.status);
  }
  if (!op.peer_done && waits_for_peer()) {
    if (may_answer_early(op)) answer_early(op);
    return;
  }
  if (is_barrier(op) && is_behind(op)) return bar(op);
  // It is there and not here, or here in part: made equal again.
  if (op.status != BlockStatus::ok && op.kind == Op::Kind::write) {
    const ExtentRange range = map_.extents_of(op.offset, op.length);
    for (std::uint64_t extent = range.first; extent < range.last; ++extent) {
      if (!to_fill_[extent]) ++to_fill_count_, ++fill_total_;
      to_fill_[extent] = true;
    }
    set_tick();
  }
  finish(op, op.status);
}

void Replica::finish(Op& op, BlockStatus status) {
  if (op.parked) --parked_;
  op.parked = false;
  const bool locks = op.kind == Op::Kind::read || op.kind == Op::Kind::write;
  BlockRequest* const upper = op.upper;
  const StateLog::Done state_done = std::exchange(op.state_done, nullptr);
  if (op.barred) std::erase(barred_, &op);
  const bool was_answered = op.answered;
  if (was_answered) confirmed(op);
  if (state_done && status == BlockStatus::shutdown && op.status == BlockStatus::ok) state_unsaid_ = true;
  op.stage = Op::Stage::idle;
  if (locks) locks_.release(op.lock);
  put_op(op);
  if (upper != nullptr) {
    upper->status = status;
    upper->done(*upper);
  }
  if (state_done) {
    error_code error;
    if (status == BlockStatus::shutdown) error = make_error_code(UnitErrc::elsewhere);
    if (status == BlockStatus::io_error) error = std::make_error_code(std::errc::io_error);
    state_done(error);
  }
  if (was_answered) look_at_barred();
}

// ---- the peer's answers --------------------------------------------------------------------------------------------

void Replica::on_ack(const StreamHead& head) {
  const std::size_t slot = head.sequence % slots_max;
  if (slot >= ops_.size()) return;
  Op& op = *ops_[slot];
  if (op.stage != Op::Stage::running || op.head.sequence != head.sequence || op.peer_done) return;
  if (head.status != BlockStatus::ok) {
    return peer_failed(head.status == BlockStatus::no_space ? "its medium is full" : "its medium cannot be written");
  }
  op.peer_done = true;
  if (op.kind == Op::Kind::fill_write) {
    FillJob& job = *op.job;
    fill_sent_bytes_ += op.length;
    put_op(op);
    if (--job.answers_left == 0) chunk_ended(job);
    return;
  }
  if (op.kind == Op::Kind::fill_end) {
    put_op(op);
    filled_ = orders_.peer_incarnation;
    bound_ = true;
    log_.notice("the peer holds everything");
    return tell();
  }
  settle(op);
}

void Replica::on_map(const StreamHead& head, std::span<const std::byte> bits) {
  map_.merge(head.offset, head.length, bits);
  if (!head.last) return;
  map_received_ = true;
  write_map();
  if (!map_.changed() && !map_.writing()) map_came();
}

// What the follower noted is noted here, durably.
void Replica::map_came() {
  if (stream_ == nullptr || !map_received_ || stream_ready_ || !leading()) return;
  stream_ready_ = true;
  stream_->send({.op = StreamOp::map_taken}, {});
  // The newest state, in what is under way too: the peer never goes back to an older one.
  bool has_state = false;
  for (const auto& op : ops_) {
    if (op->stage != Op::Stage::running || op->kind != Op::Kind::state) continue;
    has_state = true;
    set_text(*op);
  }
  if (!has_state) {
    Op& op = take_op(Op::Kind::state);
    set_text(op);
    op.stage = Op::Stage::running;
    op.local_done = true;
  }
  send_all();
  plan_fill();
  tell();
}

// ---- the map -------------------------------------------------------------------------------------------------------

void Replica::write_map() {
  if (map_writing_ || !map_.changed()) return;
  map_writing_ = true;
  seams_.map_store.write(map_.begin_write(), [this](error_code error) {
    map_writing_ = false;
    map_.end_write(!error);
    if (error) {
      map_failed_ = true;
      log_.error("the map of differences cannot be written: {}", error.message());
      local_failed("the map of differences cannot be written");
    }
    marked();
    look_whether_drained();
  });
}

void Replica::marked() {
  if (begun_ && !changing_ && !closing_) {
    for (std::size_t at = 0; at < ops_.size(); ++at) {
      Op& op = *ops_[at];
      if (op.stage == Op::Stage::marking && map_.durable(map_.extents_of(op.offset, op.length))) run(op);
    }
    if (!map_.changed() && orders_.role == CopyRole::lead) map_came();
  }
  if (!map_failed_ && !closing_) write_map();
}

// Extents that were left alone for a while are synchronised on both sides and not marked any more.
void Replica::clean() {
  clean_at_ = seams_.clock.now() + options_.clean_interval;
  if (clean_under_way_ || !stream_ready_ || !orders_.peer_in_sync || to_fill_count_ > 0) return;
  cleaning_.clear();
  for (auto extent = map_.next_marked(0); extent; extent = map_.next_marked(*extent + 1)) {
    if (!touched_[*extent]) cleaning_.push_back(*extent);
  }
  touched_.assign(touched_.size(), false);
  // A command under way touches its extents when it ends, too.
  for (const auto& op : ops_) {
    if (op->stage == Op::Stage::idle || op->kind != Op::Kind::write) continue;
    const ExtentRange range = map_.extents_of(op->offset, op->length);
    for (std::uint64_t extent = range.first; extent < range.last; ++extent) touched_[extent] = true;
  }
  if (cleaning_.empty()) return;
  clean_under_way_ = true;
  Op& op = take_op(Op::Kind::clean);
  op.op = BlockOp::flush;
  op.head.op = StreamOp::flush;
  run(op);
}

void Replica::cleaned(bool ok) {
  clean_under_way_ = false;
  if (!ok || !orders_.peer_in_sync) return;
  for (const std::uint64_t extent : cleaning_) {
    if (!touched_[extent] && !to_fill_[extent]) map_.clear(extent);
  }
  write_map();
}

}  // namespace mpath::target::replication
