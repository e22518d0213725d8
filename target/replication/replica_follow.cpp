// A copy that follows: carries out what the leader's stream brings, and answers.
#include <algorithm>
#include <utility>

#include "target/replication/replica.hpp"
#include "wire/replication_sums.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::uint64_t map_message_extents = 4000 * 8;

}  // namespace

// What may differ by what is known here: the leader takes it over.
void Replica::send_map() {
  const std::uint64_t extents = map_.shape().extents();
  for (std::uint64_t first = 0; first < extents; first += map_message_extents) {
    const std::uint64_t count = std::min(map_message_extents, extents - first);
    std::vector<std::byte> bits = map_.bits(first, count);
    const iovec part{.iov_base = bits.data(), .iov_len = bits.size()};
    stream_->send({.op = StreamOp::map,
                   .last = first + count == extents,
                   .offset = first,
                   .length = count,
                   .body_bytes = static_cast<std::uint32_t>(bits.size())},
                  {&part, 1});
  }
}

Replica::Apply& Replica::take_apply() {
  if (free_applies_ == nullptr) {
    applies_.push_back(std::make_unique<Apply>());
    free_applies_ = applies_.back().get();
    free_applies_->owner = this;
    free_applies_->done = on_applied;
  }
  Apply& apply = *free_applies_;
  free_applies_ = apply.next_free;
  ++applying_;
  return apply;
}

void Replica::apply(const StreamHead& head, Buffer body) {
  Apply& apply = take_apply();
  apply.head = head;
  apply.stream_number = stream_number_;
  apply.body = std::move(body);
  apply.part = {.iov_base = apply.body.data(), .iov_len = apply.body.size()};
  apply.data = {};
  apply.offset = head.offset;
  apply.length = head.length;
  apply.fua = head.fua;
  apply.may_unmap = true;
  apply.fast_only = false;
  apply.status = BlockStatus::ok;
  const std::uint64_t size = map_.shape().size_bytes;
  const bool inside = head.offset <= size && head.length <= size - head.offset;
  switch (head.op) {
    case StreamOp::write:
      apply.op = BlockOp::write;
      apply.data = {&apply.part, 1};
      if (apply.body.size() != head.length) apply.status = BlockStatus::invalid;
      break;
    case StreamOp::zero:
      apply.op = BlockOp::write_zeroes;
      apply.may_unmap = head.may_unmap;
      break;
    case StreamOp::sums:
      apply.op = BlockOp::read;
      apply.sums = std::move(apply.body);
      if (head.length > stream_body_bytes_max || apply.sums.size() != sum_count(head.length) * sizeof(Sum)) {
        apply.status = BlockStatus::invalid;
        break;
      }
      apply.body = seams_.buffers.take(head.length);
      apply.part = {.iov_base = apply.body.data(), .iov_len = head.length};
      apply.data = {&apply.part, 1};
      break;
    case StreamOp::flush:
    case StreamOp::fill_end:
    case StreamOp::state:
    case StreamOp::map_taken:
    case StreamOp::ack:
    case StreamOp::sums_answer:
    case StreamOp::map:
    case StreamOp::link:
    case StreamOp::protocol:
    case StreamOp::received:
      apply.op = BlockOp::flush;
      break;
  }
  if (!inside || apply.status != BlockStatus::ok) {
    apply.status = BlockStatus::invalid;
    return applied(apply);
  }
  // It is carried out before anything else becomes of this copy, unless this process ends.
  if (head.receipt) stream_->send({.op = StreamOp::received, .sequence = head.sequence}, {});
  if (head.op == StreamOp::write && head.atomic && seams_.local.atomic_bytes_max() >= head.length) {
    seams_.local.submit_atomic(apply);
  } else {
    seams_.local.submit(apply);
  }
}

void Replica::on_applied(BlockRequest& request) noexcept {
  Apply& apply = static_cast<Apply&>(request);
  apply.owner->applied(apply);
}

void Replica::applied(Apply& apply) {
  if (apply.status == BlockStatus::io_error) local_failed("carrying out the leader's write");
  if (apply.head.op == StreamOp::write || apply.head.op == StreamOp::zero) written_bytes_ += apply.head.length;
  const bool listens = stream_ != nullptr && apply.stream_number == stream_number_ && begun_;
  if (listens && apply.head.op == StreamOp::sums && apply.status == BlockStatus::ok) {
    compare(apply);
  } else if (listens) {
    if (apply.head.op == StreamOp::fill_end && apply.status == BlockStatus::ok) {
      whole_ = true;
      log_.notice("this copy holds everything");
      tell();
    }
    answer(apply, apply.status);
  }
  apply.body.reset();
  apply.sums.reset();
  apply.next_free = free_applies_;
  free_applies_ = &apply;
  --applying_;
  look_whether_drained();
}

void Replica::answer(const Apply& apply, BlockStatus status) {
  stream_->send({.op = StreamOp::ack, .status = status, .sequence = apply.head.sequence}, {});
}

// Tells which blocks differ from the leader's.
void Replica::compare(Apply& apply) {
  std::vector<Sum> own(sum_count(apply.head.length));
  make_sums(apply.body.bytes().first(apply.head.length), own);
  std::vector<std::byte> differing(difference_bytes(own.size()));
  for (std::size_t at = 0; at < own.size(); ++at) {
    const auto theirs = apply.sums.bytes().subspan(at * sizeof(Sum), sizeof(Sum));
    if (!std::ranges::equal(own[at], theirs)) set_differs(differing, at);
  }
  const iovec part{.iov_base = differing.data(), .iov_len = differing.size()};
  stream_->send({.op = StreamOp::sums_answer,
                 .sequence = apply.head.sequence,
                 .offset = apply.head.offset,
                 .length = apply.head.length,
                 .body_bytes = static_cast<std::uint32_t>(differing.size())},
                {&part, 1});
}

// ---- SCSI state ----------------------------------------------------------------------------------------------------

void Replica::take_state(const StreamHead& head, std::span<const std::byte> text) {
  const auto state = decode_lu_state({reinterpret_cast<const char*>(text.data()), text.size()});
  if (!state) return on_closed("a SCSI state that cannot be read: " + state.error().message());
  states_.emplace_back(head, *state);
  save_state();
}

// One after the other: each is durable here before it is answered.
void Replica::save_state() {
  if (saving_ || states_.empty()) return;
  saving_ = true;
  const auto [head, state] = std::move(states_.front());
  states_.pop_front();
  seams_.local_state.commit(state, [this, head, state, number = stream_number_](error_code error) {
    saving_ = false;
    if (error) {
      local_failed("the SCSI state cannot be written");
    } else {
      state_text_ = encode_lu_state(state);
      if (on_state) on_state(state);
    }
    if (stream_ != nullptr && number == stream_number_ && begun_) {
      stream_->send(
          {.op = StreamOp::ack, .status = error ? BlockStatus::io_error : BlockStatus::ok, .sequence = head.sequence},
          {});
    }
    save_state();
    look_whether_drained();
  });
}

}  // namespace mpath::target::replication
