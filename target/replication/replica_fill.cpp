// A copy that leads makes the other one equal: what may differ is compared by checksums, what does differ is sent. Where
// everything differs, as at a first filling, most of it is sent without that.
#include <algorithm>
#include <utility>

#include "target/replication/replica.hpp"
#include "wire/replication_sums.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::size_t differences_max = 1000;  // that are named
constexpr unsigned compared_still = 16;  // one chunk in so many, where nothing is equal
constexpr Duration read_error_pause = std::chrono::seconds(5);

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

bool Replica::may_fill() const {
  return leading() && !changing_ && !closing_ && stream_ready_;
}

// A new stream to a peer that lacks something: everything that is marked may differ.
void Replica::plan_fill() {
  if (orders_.may_fill && may_fill() && !fill_planned_) {
    fill_planned_ = true;
    to_fill_count_ = fill_total_ = 0;
    for (std::uint64_t extent = 0; extent < map_.shape().extents(); ++extent) {
      to_fill_[extent] = map_.marked(extent);
      if (to_fill_[extent]) ++to_fill_count_;
    }
    fill_total_ = to_fill_count_;
    fill_done_bytes_ = fill_sent_bytes_ = 0;
    fill_unlike_ = fill_uncompared_ = 0;
    fill_cursor_ = 0;
    fill_end_sent_ = false;
    log_.notice("filling the peer extents={} of={}", to_fill_count_, map_.shape().extents());
  }
  fill();
  set_tick();
}

void Replica::fill() {
  if (!may_fill() || seams_.clock.now() < fill_pause_until_) return;
  for (FillJob& job : jobs_) {
    if (job.stage == FillJob::Stage::resting) start_chunk(job);
  }
  while (may_fill() && next_job()) {
  }
  const bool idle = std::ranges::none_of(jobs_, [](const FillJob& job) { return job.stage != FillJob::Stage::none; });
  if (!may_fill() || !idle || to_fill_count_ > 0) return;
  if (verify_ && verify_->cursor >= map_.shape().extents()) end_verify(true);
  if (!fill_planned_ || orders_.peer_in_sync || filled_ || fill_end_sent_) return;
  fill_end_sent_ = true;
  Op& op = take_op(Op::Kind::fill_end);
  op.head.op = StreamOp::fill_end;
  op.stage = Op::Stage::running;
  op.local_done = true;
  send(op);
}

// Whether another extent was begun.
bool Replica::next_job() {
  std::size_t active = 0;
  for (const FillJob& job : jobs_) active += job.stage != FillJob::Stage::none ? 1 : 0;
  if (active >= options_.fill_window) return false;
  const std::uint64_t extents = map_.shape().extents();
  const auto under_way = [this](std::uint64_t extent) {
    return std::ranges::any_of(jobs_, [this, extent](const FillJob& job) {
      return job.stage != FillJob::Stage::none && job.extent / map_.shape().extent_bytes == extent;
    });
  };
  for (std::uint64_t seen = 0; to_fill_count_ > 0 && seen < extents; ++seen) {
    const std::uint64_t extent = (fill_cursor_ + seen) % extents;
    if (!to_fill_[extent] || under_way(extent)) continue;
    fill_cursor_ = extent + 1;
    start_job(extent, false);
    return true;
  }
  if (verify_ && verify_->cursor < extents && !under_way(verify_->cursor)) {
    start_job(verify_->cursor++, true);
    return true;
  }
  return false;
}

void Replica::start_job(std::uint64_t extent, bool for_verify) {
  FillJob& job = *std::ranges::find(jobs_, FillJob::Stage::none, &FillJob::stage);
  job.cancelled = false;
  job.verify = for_verify;
  job.extent = job.at = extent * map_.shape().extent_bytes;
  job.end = job.at + map_.bytes_of(extent);
  start_chunk(job);
}

void Replica::start_chunk(FillJob& job) {
  job.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(options_.fill_chunk_bytes, job.end - job.at));
  job.stage = FillJob::Stage::locking;
  job.began = seams_.clock.now();
  job.lock.first = job.at;
  job.lock.count = job.length;
  job.lock.exclusive = true;
  if (locks_.lock(job.lock)) chunk_locked(job);
}

void Replica::chunk_locked(FillJob& job) {
  job.stage = FillJob::Stage::reading;
  if (job.data.size() < job.length) job.data = seams_.buffers.take(job.length);
  job.data_part = {.iov_base = job.data.data(), .iov_len = job.length};
  Op& op = take_op(Op::Kind::fill_read);
  op.op = BlockOp::read;
  op.offset = job.at;
  op.length = job.length;
  op.data = {&job.data_part, 1};
  op.job = &job;
  op.stage = Op::Stage::running;
  seams_.local.submit(op);
}

void Replica::chunk_read(FillJob& job, BlockStatus status) {
  if (job.cancelled || !may_fill() || status != BlockStatus::ok) {
    if (status != BlockStatus::ok && !job.cancelled) {
      trouble_ = "the peer cannot be filled: the medium here cannot be read";
      log_.error("filling: the medium cannot be read offset={}", job.at);
      fill_pause_until_ = seams_.clock.now() + read_error_pause;
    }
    job.stage = FillJob::Stage::none;
    return locks_.release(job.lock);
  }
  const auto bytes = job.data.bytes().first(job.length);
  if (!job.verify && fill_unlike_ >= options_.fill_unlike_chunks && ++fill_uncompared_ % compared_still != 0) {
    job.differing.assign(difference_bytes(sum_count(job.length)), std::byte{0xff});
    return send_differing(job);
  }
  job.sums.resize(sum_count(bytes.size()));
  make_sums(bytes, job.sums);
  job.sums_part = {.iov_base = job.sums.data(), .iov_len = job.sums.size() * sizeof(Sum)};
  job.stage = FillJob::Stage::asking;
  Op& op = take_op(Op::Kind::fill_sums);
  op.head.op = StreamOp::sums;
  op.head.offset = job.at;
  op.head.length = job.length;
  op.head.body_bytes = static_cast<std::uint32_t>(job.sums_part.iov_len);
  op.data = {&job.sums_part, 1};
  op.job = &job;
  op.stage = Op::Stage::running;
  op.local_done = true;
  send(op);
}

void Replica::on_sums(Op& op, std::span<const std::byte> differing) {
  if (op.kind != Op::Kind::fill_sums) return;
  FillJob& job = *op.job;
  put_op(op);
  job.differing.assign(differing.begin(), differing.end());
  job.differing.resize(difference_bytes(sum_count(job.length)));
  if (!job.verify) {
    bool unlike = true;
    for (std::size_t at = 0; at < sum_count(job.length); ++at) unlike = unlike && differs(job.differing, at);
    fill_unlike_ = unlike ? fill_unlike_ + 1 : 0;
  }
  send_differing(job);
}

void Replica::send_differing(FillJob& job) {
  const std::size_t blocks = sum_count(job.length);
  job.stage = FillJob::Stage::writing;
  job.runs.clear();
  job.runs.reserve(blocks);
  job.answers_left = 1;  // ourselves, until all are sent
  const auto zero = [&job](std::size_t at) {
    const std::size_t first = at * sum_block_bytes;
    return all_zero(job.data.bytes().subspan(first, std::min<std::size_t>(sum_block_bytes, job.length - first)));
  };
  for (std::size_t at = 0; at < blocks;) {
    if (!differs(job.differing, at)) {
      ++at;
      continue;
    }
    const bool hole = zero(at);
    std::size_t end = at + 1;
    while (end < blocks && differs(job.differing, end) && zero(end) == hole) ++end;
    send_run(job, at, end, hole);
    at = end;
  }
  if (--job.answers_left == 0) chunk_ended(job);
}

// Blocks [begin, end) of the chunk. `zero`: there is nothing else in them.
void Replica::send_run(FillJob& job, std::size_t begin, std::size_t end, bool zero) {
  const std::size_t first = begin * sum_block_bytes;
  const std::size_t length = std::min<std::size_t>(end * sum_block_bytes, job.length) - first;
  if (verify_ && job.verify) {
    VerifyResult& result = verify_->result;
    result.differing_bytes += length;
    auto& known = result.differences;
    if (!known.empty() && known.back().offset + known.back().length == job.at + first) {
      known.back().length += length;
    } else if (known.size() < differences_max) {
      known.push_back({.offset = job.at + first, .length = length});
    }
    if (!verify_->repair) return;
  }
  const auto bytes = job.data.bytes().subspan(first, length);
  job.runs.push_back({.iov_base = bytes.data(), .iov_len = length});
  Op& op = take_op(Op::Kind::fill_write);
  op.head.op = zero ? StreamOp::zero : StreamOp::write;  // holes stay holes
  op.head.fill = true;
  op.head.may_unmap = zero;
  op.head.offset = job.at + first;
  op.head.length = length;
  op.head.body_bytes = zero ? 0 : static_cast<std::uint32_t>(length);
  op.length = length;
  if (!zero) op.data = {&job.runs.back(), 1};
  op.job = &job;
  op.stage = Op::Stage::running;
  op.local_done = true;
  ++job.answers_left;
  send(op);
}

// Whether a command from above is under way.
bool Replica::initiators_wait() const {
  return std::ranges::any_of(ops_, [](const auto& op) { return op->stage != Op::Stage::idle && (op->upper != nullptr || op->kind == Op::Kind::state); });
}

void Replica::chunk_ended(FillJob& job) {
  const TimePoint now = seams_.clock.now();
  if (!job.verify) fill_done_bytes_ += job.length;
  // Beside initiators' commands only half of the time, though not slower than wanted; and never faster than allowed.
  const Duration took = now - job.began;
  const auto pause_for = [&job, took](std::uint64_t bytes_per_second) {
    const std::chrono::duration<double> wanted(static_cast<double>(job.length) / static_cast<double>(bytes_per_second));
    return std::max(Duration{}, std::chrono::duration_cast<Duration>(wanted) - took);
  };
  Duration pause{0};
  if (initiators_wait()) pause = took;
  if (options_.fill_bytes_per_second_min > 0) pause = std::min(pause, pause_for(options_.fill_bytes_per_second_min));
  if (options_.fill_bytes_per_second > 0) pause = std::max(pause, pause_for(options_.fill_bytes_per_second));
  if (pause.count() > 0) fill_pause_until_ = std::max(fill_pause_until_, now + pause);
  job.at += job.length;
  const bool ended = job.at >= job.end;
  if (ended) {
    const std::uint64_t extent = job.extent / map_.shape().extent_bytes;
    if (!job.verify && to_fill_[extent]) {
      to_fill_[extent] = false;
      --to_fill_count_;
    }
  }
  job.stage = ended ? FillJob::Stage::none : FillJob::Stage::resting;
  locks_.release(job.lock);
  fill();
}

// Everything under way is given up; what was to be filled stays to be filled.
void Replica::stop_filling() {
  for (const auto& op : ops_) {
    const bool of_filling =
        op->kind == Op::Kind::fill_sums || op->kind == Op::Kind::fill_write || op->kind == Op::Kind::fill_end;
    if (op->stage == Op::Stage::running && of_filling) put_op(*op);
  }
  fill_end_sent_ = false;
  for (FillJob& job : jobs_) {
    switch (job.stage) {
      case FillJob::Stage::none:
        break;
      case FillJob::Stage::reading:
        job.cancelled = true;
        break;
      case FillJob::Stage::resting:
        job.stage = FillJob::Stage::none;
        break;
      case FillJob::Stage::locking:
      case FillJob::Stage::asking:
      case FillJob::Stage::writing:
        job.stage = FillJob::Stage::none;
        locks_.release(job.lock);
        break;
    }
  }
  end_verify(false);
}

void Replica::verify(bool repair, std::function<void(const VerifyResult&)> done) {
  if (verify_ || !may_fill()) return done({});
  verify_ = Verify();
  verify_->repair = repair;
  verify_->done = std::move(done);
  fill();
  set_tick();
}

void Replica::end_verify(bool complete) {
  if (!verify_) return;
  auto ended = std::move(*verify_);
  verify_.reset();
  ended.result.complete = complete;
  ended.done(ended.result);
}

ReplicaCounters Replica::counters() const {
  ReplicaCounters counters;
  counters.sent_bytes = sent_bytes_;
  counters.received_bytes = received_bytes_;
  counters.read_bytes = read_bytes_;
  counters.written_bytes = written_bytes_;
  for (const auto& op : ops_) {
    const bool waits = op->stage == Op::Stage::running && op->kind == Op::Kind::write && !op->peer_done;
    if (waits && waits_for_peer()) ++counters.pending;
  }
  counters.unconfirmed_bytes = unconfirmed_bytes_;
  counters.protocol = protocol();
  if (stream_ != nullptr) counters.of_peer = of_peer_;
  const std::uint64_t extent = map_.shape().extent_bytes;
  counters.marked_bytes = std::min(map_.marked_count() * extent, map_.shape().size_bytes);
  counters.to_fill_bytes = std::min(to_fill_count_ * extent, map_.shape().size_bytes);
  counters.fill_total_bytes = std::min(fill_total_ * extent, map_.shape().size_bytes);
  counters.fill_done_bytes = fill_done_bytes_;
  counters.fill_sent_bytes = fill_sent_bytes_;
  counters.stream = stream_ != nullptr;
  counters.filling = stream_ready_ && to_fill_count_ > 0;
  counters.verifying = verify_.has_value();
  if (verify_) {
    counters.verified_bytes = std::min(verify_->cursor * extent, map_.shape().size_bytes);
    counters.verify_total_bytes = map_.shape().size_bytes;
  }
  return counters;
}

}  // namespace mpath::target::replication
