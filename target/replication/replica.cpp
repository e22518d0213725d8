// Roles, streams and reports of a copy. What it does as leader: replica_lead.cpp, replica_fill.cpp; as follower:
// replica_follow.cpp.
#include "target/replication/replica.hpp"

#include <utility>

#include "base/check.hpp"

namespace mpath::target::replication {
namespace {

constexpr Duration tick_busy = std::chrono::milliseconds(20);
constexpr Duration tick_idle = std::chrono::milliseconds(250);

}  // namespace

Replica::Replica(const Seams& seams, DirtyMap map, const LuState& state, const ReplicaOptions& options, const Log& log)
    : seams_(seams),
      options_(options),
      log_(log),
      map_(std::move(map)),
      touched_(map_.shape().extents()),
      state_text_(encode_lu_state(state)),
      to_fill_(map_.shape().extents()) {
  CHECK(options_.fill_window > 0 && options_.fill_window <= jobs_.size());
  begun_ = true;  // nothing is under way
  for (FillJob& job : jobs_) {
    job.owner = this;
    job.lock.owner = &job;
    job.lock.granted = [](RangeLock& lock) noexcept {
      FillJob& waiting = *static_cast<FillJob*>(lock.owner);
      waiting.owner->chunk_locked(waiting);
    };
  }
  tick_ = seams_.clock.make_alarm([this] { tick(); });
  write_map();
}

Replica::~Replica() = default;

// ---- roles ---------------------------------------------------------------------------------------------------------

void Replica::set_orders(const Orders& orders) {
  next_orders_ = orders;
  if (orders.term != orders_.term && !changing_) {
    changing_ = true;
    begun_ = false;
    leave_role();
  }
  if (changing_) return look_whether_drained();
  const Orders before = std::exchange(orders_, orders);
  if (orders.role != CopyRole::lead) return tell();
  if (!orders.peer_needed && bound_ && orders.seen >= unbound_report_ && !filled_) bound_ = false;
  const bool dropped = before.peer_needed && !orders.peer_needed;
  const bool other_life = stream_ != nullptr && before.peer_incarnation != orders.peer_incarnation;
  // Another life may have another medium.
  if (orders.peer_incarnation != 0 && orders.peer_incarnation != failed_peer_) peer_failed_until_ = TimePoint::min();
  // A peer that was voted out is to be filled before it counts again: with another stream.
  if (dropped || other_life) lose_stream(dropped ? "the peer is not in sync any more" : "the peer has begun anew");
  if (dropped) filled_.reset(), bound_ = false;
  settle_all();
  plan_fill();
  tell();
}

// What was taken from initiators and is not answered now is not answered by this node any more.
void Replica::leave_role() {
  close_stream();
  if (auto prepared = std::exchange(prepared_, nullptr)) prepared(false);
  stop_filling();
  filled_.reset();
  bound_ = false;
  clean_under_way_ = false;
  for (std::size_t at = 0; at < ops_.size(); ++at) {
    const Op::Stage stage = ops_[at]->stage;
    const bool waits = stage == Op::Stage::locking || stage == Op::Stage::marking || stage == Op::Stage::behind;
    if (waits) finish(*ops_[at], BlockStatus::shutdown);
  }
  settle_all();
}

void Replica::look_whether_drained() {
  if (changing_ && active_ops_ == 0 && applying_ == 0 && !saving_) {
    changing_ = false;
    orders_ = next_orders_;
    begin_role();
  }
  if (prepared_ && applying_ == 0 && !saving_ && stream_ == nullptr) {
    const auto prepared = std::exchange(prepared_, nullptr);
    prepared(begun_ && orders_.role == CopyRole::follow);
  }
  if (closed_ && active_ops_ == 0 && applying_ == 0 && !saving_ && !map_writing_) {
    const auto closed = std::exchange(closed_, nullptr);
    seams_.local.close(closed);
  }
}

void Replica::begin_role() {
  begun_ = true;
  whole_ = false;
  if (!medium_failed_) trouble_.clear();
  peer_failed_until_ = TimePoint::min();
  stream_lost_at_ = seams_.clock.now();
  clean_at_ = seams_.clock.now() + options_.clean_interval;
  touched_.assign(touched_.size(), true);
  set_tick();
  // Who hands over has said all of it first, and stays in sync.
  const bool lacks = orders_.role == CopyRole::lead && std::exchange(may_lack_, false) && !orders_.peer_in_sync;
  if (lacks && on_loss && !closing_) on_loss();
  if (std::exchange(state_unsaid_, false) && on_state && !closing_) {
    const auto state = decode_lu_state(state_text_);
    CHECK(state);
    on_state(*state);
  }
  tell();
}

void Replica::tell() {
  Report report;
  report.term = orders_.term;
  report.ready = begun_ && !changing_;
  report.medium_failed = medium_failed_;
  report.medium_hangs = medium_hangs_;
  report.trouble = trouble_;
  if (report.ready && orders_.role == CopyRole::lead) {
    const TimePoint now = seams_.clock.now();
    report.filled = filled_;
    const bool wanted = orders_.peer_needed || bound_;
    const bool gone = stream_ == nullptr && now >= stream_lost_at_ + options_.stream_grace;
    report.peer_lost = wanted && (gone || now < peer_failed_until_);
    report.wants_stream = stream_ == nullptr && orders_.peer_incarnation != 0 && now >= peer_failed_until_;
  }
  if (report.ready && orders_.role == CopyRole::follow) report.whole = whole_;
  report.number = told_.number;
  if (report == told_ && report_number_ > 0) return;
  // Whoever let writes go on this report has taken the withdrawal into account.
  report.number = ++report_number_;
  if (told_.filled && !report.filled) unbound_report_ = report.number;
  told_ = report;
  if (on_report) on_report(report);
}

void Replica::tick() {
  ticking_ = false;
  ended_streams_.clear();
  const TimePoint now = seams_.clock.now();
  if (leading()) {
    if (parked_ > 0) {
      for (std::size_t at = 0; at < ops_.size(); ++at) {
        if (ops_[at]->parked) settle(*ops_[at]);
      }
    }
    if (stream_ != nullptr) {
      for (const auto& op : ops_) {
        const bool late =
            op->stage == Op::Stage::running && op->sent && !op->peer_done && now >= op->sent_at + options_.peer_timeout;
        if (!late) continue;
        peer_failed("it does not answer");
        break;
      }
    }
    if (!medium_failed_ && local_hangs(now)) {
      medium_hangs_ = true;
      local_failed("it hangs");
    }
    if (now >= clean_at_) clean();
    fill();
  }
  tell();
  set_tick();
}

void Replica::set_tick() {
  if (ticking_ || closing_) return;
  ticking_ = true;
  const bool busy = parked_ > 0 || to_fill_count_ > 0 || verify_.has_value();
  tick_->set(seams_.clock.now() + (busy ? tick_busy : tick_idle));
}

void Replica::local_failed(const std::string& why) {
  if (medium_failed_) return;
  medium_failed_ = true;
  trouble_ = "the medium fails: " + why;
  log_.error("copy failed reason={}", quoted(why));
  tell();
}

// While the peer has everything: alone there is nothing to do but to wait. A command is old when it was seen at an
// earlier tick, so that the hot path needs no clock for it.
bool Replica::local_hangs(TimePoint now) {
  if (options_.disk_timeout <= Duration{} || !orders_.peer_in_sync) return false;
  bool hangs = false;
  for (const auto& op : ops_) {
    const bool waits = (op->stage == Op::Stage::running && !op->local_done) || op->stage == Op::Stage::marking;
    if (!waits) continue;
    if (op->watched != op->head.sequence) {
      op->watched = op->head.sequence;
      op->watched_since = now;
    }
    hangs = hangs || now >= op->watched_since + options_.disk_timeout;
  }
  return hangs;
}

// ---- streams -------------------------------------------------------------------------------------------------------

void Replica::attach(std::shared_ptr<PeerStream> stream, std::uint64_t term, std::uint64_t peer_incarnation) {
  const bool lead = orders_.role == CopyRole::lead;
  const bool fits = begun_ && !changing_ && !closing_ && term == orders_.term && stream_ == nullptr;
  const bool life = !lead || peer_incarnation == orders_.peer_incarnation;
  if (!fits || !life || orders_.role == CopyRole::rest || (!lead && (applying_ > 0 || saving_))) return;
  stream_ = std::move(stream);
  ++stream_number_;
  map_received_ = stream_ready_ = fill_planned_ = false;
  whole_ = false;
  of_peer_ = told_protocol_ = Protocol::c;
  log_.notice("connected to the peer");
  stream_->start(*this);
  tell_protocol();
  if (!lead) send_map();
  tell();
}

void Replica::prepare_to_follow(std::uint64_t term, std::function<void(bool)> done) {
  if (auto before = std::exchange(prepared_, nullptr)) before(false);
  if (!begun_ || changing_ || closing_ || term != orders_.term || orders_.role != CopyRole::follow) return done(false);
  close_stream();
  prepared_ = std::move(done);
  look_whether_drained();
}

void Replica::reconnect() {
  if (stream_ != nullptr) on_closed("by command");
}

// Of its own accord: nobody hears of it.
void Replica::close_stream() {
  if (stream_ == nullptr) return;
  stream_->close();
  ended_streams_.push_back(std::move(stream_));
  stream_ready_ = false;
  states_.clear();
}

void Replica::lose_stream(const std::string& why) {
  if (stream_ == nullptr) return;
  log_.notice("disconnected from the peer reason={}", quoted(why));
  close_stream();
  stream_lost_at_ = seams_.clock.now();
  stop_filling();
  filled_.reset();
  for (const auto& op : ops_) op->sent = op->received = false;
  settle_all();
  tell();
  set_tick();
}

void Replica::peer_failed(const std::string& why) {
  trouble_ = "the peer fails: " + why;
  log_.error("peer failed reason={}", quoted(why));
  peer_failed_until_ = seams_.clock.now() + options_.failed_pause;
  failed_peer_ = orders_.peer_incarnation;
  lose_stream(why);
  tell();
}

void Replica::on_closed(const std::string& why) {
  if (orders_.role == CopyRole::lead && begun_) {
    lose_stream(why);
  } else {
    log_.notice("disconnected from the peer reason={}", quoted(why));
    close_stream();
    tell();
  }
}

void Replica::on_message(const StreamHead& head, Buffer body) {
  if (stream_ == nullptr || !begun_) return;
  received_bytes_ += body.size();
  const std::span<const std::byte> bytes = body.bytes();
  const bool lead = orders_.role == CopyRole::lead;
  switch (head.op) {
    case StreamOp::ack:
      if (lead) return on_ack(head);
      break;
    case StreamOp::sums_answer:
      if (lead) {
        const std::size_t slot = head.sequence % slots_max;
        if (slot < ops_.size() && ops_[slot]->stage == Op::Stage::running && ops_[slot]->head.sequence == head.sequence)
          on_sums(*ops_[slot], bytes);
        return;
      }
      break;
    case StreamOp::map:
      if (lead) return on_map(head, bytes);
      break;
    case StreamOp::write:
    case StreamOp::zero:
    case StreamOp::flush:
    case StreamOp::sums:
    case StreamOp::fill_end:
      if (!lead) return apply(head, std::move(body));
      break;
    case StreamOp::state:
      if (!lead) return take_state(head, bytes);
      break;
    case StreamOp::received:
      if (lead) return on_received(head);
      break;
    case StreamOp::protocol:
      of_peer_ = static_cast<Protocol>(head.sequence);
      if (!lead && protocol() == Protocol::a) may_lack_ = true;
      return;
    case StreamOp::link:
      break;
    case StreamOp::map_taken:
      if (!lead) {
        for (auto extent = map_.next_marked(0); extent; extent = map_.next_marked(*extent + 1)) map_.clear(*extent);
        write_map();
        return;
      }
      break;
  }
  on_closed("a message that does not belong to this side");
}

// ---- Store ---------------------------------------------------------------------------------------------------------

void Replica::grow(std::uint64_t, std::function<void(error_code)> done) {
  done(std::make_error_code(std::errc::operation_not_supported));
}

void Replica::close(std::function<void(error_code)> closed) {
  closing_ = true;
  tick_->cancel();
  changing_ = true;
  begun_ = false;
  next_orders_ = {.term = orders_.term};
  leave_role();
  closed_ = std::move(closed);
  look_whether_drained();
}

void Replica::mark_all() {
  map_.mark(map_.all());
  write_map();
}

}  // namespace mpath::target::replication
