#include "initiator/libiscsi_session.hpp"

#include <fmt/format.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "initiator/libiscsi_connection.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath {
namespace {

using bhs::Opcode;

constexpr std::uint32_t segment_max = 262144;  // what the library announces as MaxRecvDataSegmentLength
constexpr std::uint64_t flat_lun_max = 16383;

class LibiscsiSession;

// One command while the session holds it. The library's scsi_task lives in here: it is a public struct that the library
// only fills in, and scsi_create_task() does no more than zero and copy.
struct Slot {
  scsi_task library{};
  LibiscsiSession* owner = nullptr;
  ScsiTask* task = nullptr;
  Slot* next = nullptr;        // free list, completed list
  Slot* hash_next = nullptr;   // same bucket of the tag table
  bool answered = false;       // the final reply has been seen by us
  bool finished = false;       // and the library is through with it
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;
  std::uint32_t residual = 0;  // underflow
  std::uint32_t moved = 0;     // payload bytes that came, or went and were asked for
  std::uint64_t sent_at = never_sent;  // place of the command in the byte stream
  std::uint64_t pinned_until = 0;      // the socket's list refers to the payload until so much is flushed
  std::array<scsi_iovec, 8> few;
  std::vector<scsi_iovec> many;

  static constexpr std::uint64_t never_sent = ~std::uint64_t{0};
};

int lun_field(std::uint64_t lun) {  // SAM-5, 4.7.3: peripheral below 256, flat space above
  return static_cast<int>(lun < 256 ? lun : 0x4000 | lun);
}

// SenseLength and sense data, as in SCSI Response and Async Message (RFC 7143, 11.4.7.2). no_sense when there is none.
scsi::Sense sense_of(std::span<const std::byte> segment) {
  Reader reader(segment);
  const std::size_t length = reader.u16();
  if (!reader.ok()) return {};
  const auto decoded = scsi::decode_sense(reader.bytes(std::min(length, reader.remaining())));
  return decoded ? decoded->sense : scsi::Sense{};
}

class LibiscsiSession final : public Session, private LibiscsiConnection::Owner {
 public:
  LibiscsiSession(Shard& shard, SessionConfig config, SessionListener& listener)
      : clock_(shard.clock()), config_(std::move(config)), listener_(listener), slots_(std::max(1U, config_.tasks_max)),
        buckets_(std::bit_ceil(slots_.size() * 2)),
        connection_(shard.context(), shard.clock(), config_, /*discovery=*/false, *this) {
    for (Slot& slot : slots_) {
      slot.owner = this;
      give_back(slot);
    }
  }

  void start() override { connection_.start(); }
  [[nodiscard]] bool logged_in() const override { return connection_.ready() && !leaving_; }
  [[nodiscard]] std::uint32_t room() const override;
  [[nodiscard]] bool submit(ScsiTask& task) noexcept override;
  void reset_lun(scsi::Lun lun, std::function<void(bool)> done) override;
  void log_out() override;
  void abort(SessionEnd why, const std::string& text) override { connection_.fail(why, text); }
  [[nodiscard]] const SessionInfo& info() const override { return connection_.info(); }
  [[nodiscard]] const SessionCounters& counters() const override;

 private:
  // LibiscsiConnection::Owner
  void on_ready() override;
  void on_pdu(bhs::Edit header, std::span<const std::byte> segment) noexcept override;
  void on_request(bhs::View header, std::uint64_t at) noexcept override;
  void on_batch() override;
  void on_flushed() override;
  [[nodiscard]] TimePoint on_alarm(TimePoint now) override;
  void on_ended(const SessionFailure& failure) override;

  static void on_command_done(iscsi_context*, int status, void*, void* slot);
  void on_scsi_response(bhs::Edit header, std::span<const std::byte> segment);
  void on_data_in(bhs::Edit header);
  void on_r2t(bhs::View header);
  void on_async_message(bhs::Edit header, std::span<const std::byte> segment);
  void on_status(Slot& slot, bhs::Edit header);
  [[nodiscard]] Slot* find(std::uint32_t itt) const;
  [[nodiscard]] Slot* find_unanswered(std::uint32_t itt) const;
  void forget(Slot& slot);
  void protocol_error(std::string text) { connection_.fail(SessionEnd::protocol_error, std::move(text)); }

  void fill_in(Slot& slot, ScsiTask& task);
  void give_back(Slot& slot);
  void refuse_lun(ScsiTask& task);
  void complete_finished();
  void complete(Slot& slot);
  void answer_refused();
  void return_task(ScsiTask& task);
  void link(ScsiTask& task);
  void unlink(ScsiTask& task);
  void tell_reset();
  void ask_for_room();
  void send_logout();

  // Constant after construction.
  Clock& clock_;
  const SessionConfig config_;
  SessionListener& listener_;
  // Owned by the shard's thread.
  std::vector<Slot> slots_;
  std::vector<Slot*> buckets_;
  Slot* free_ = nullptr;
  Slot* finished_head_ = nullptr;
  Slot* finished_tail_ = nullptr;
  ScsiTask* refused_ = nullptr;  // answered by ourselves, on the next batch
  ScsiTask* first_ = nullptr;    // in flight, oldest first
  ScsiTask* last_ = nullptr;
  std::uint32_t in_flight_ = 0;
  std::uint32_t window_seen_ = 0;
  std::uint32_t next_cmd_sn_ = 0;
  TimePoint busy_since_{};
  bool room_wanted_ = false;
  bool leaving_ = false;         // no new commands: logging out, or asked to
  bool logout_sent_ = false;
  bool logout_done_ = false;
  bool asked_to_leave_ = false;  // by the target
  TimePoint leave_by_ = never;
  TimePoint nop_sent_at_{};
  TimePoint expired_at_ = TimePoint::min();
  std::vector<scsi::Sense> events_;
  std::function<void(bool)> reset_done_;
  std::optional<bool> reset_result_;
  mutable SessionCounters counters_;  // made up when asked for
  std::uint64_t commands_ = 0, responses_ = 0, timeouts_ = 0;
  LibiscsiConnection connection_;  // last: destroying it calls back for what the library still holds
};

// ---- room and submission

std::uint32_t LibiscsiSession::room() const {
  if (!logged_in()) return 0;
  // Never past MaxCmdSN: the library would hold the command back, and a command held back cannot be cancelled safely.
  const std::int32_t open = static_cast<std::int32_t>(connection_.max_cmd_sn() + 1 - next_cmd_sn_);
  if (open <= 0) return 0;
  const std::uint32_t limit = std::min(config_.tasks_max, std::max(1U, window_seen_ - window_seen_ / 4));
  if (in_flight_ >= limit) return 0;
  return std::min(limit - in_flight_, static_cast<std::uint32_t>(open));
}

void LibiscsiSession::fill_in(Slot& slot, ScsiTask& task) {
  slot.task = &task;
  slot.next = slot.hash_next = nullptr;
  slot.answered = slot.finished = false;
  slot.status = scsi::Status::good;
  slot.sense = {};
  slot.residual = slot.moved = 0;
  slot.sent_at = Slot::never_sent;
  slot.pinned_until = 0;

  scsi_task& library = slot.library;
  library = scsi_task{};
  CHECK(task.cdb.length > 0 && task.cdb.length <= task.cdb.bytes.size());
  std::copy_n(reinterpret_cast<const unsigned char*>(task.cdb.bytes.data()), task.cdb.length, library.cdb);
  library.cdb_size = task.cdb.length;
  library.xfer_dir = SCSI_XFER_NONE;
  if (task.length == 0 || task.direction == DataDirection::none) return;
  CHECK(task.length <= 0x7fffffff);
  library.expxferlen = static_cast<int>(task.length);

  // Copied, because the library edits the list while it reads or writes (and puts it back).
  scsi_iovec* parts = slot.few.data();
  if (task.data.size() > slot.few.size()) {
    slot.many.resize(task.data.size());
    parts = slot.many.data();
  }
  std::size_t total = 0;
  int count = 0;
  for (const iovec& part : task.data) {
    if (part.iov_len == 0) continue;
    parts[count++] = {part.iov_base, part.iov_len};
    total += part.iov_len;
  }
  CHECK(total == task.length);
  if (task.direction == DataDirection::in) {
    library.xfer_dir = SCSI_XFER_READ;
    scsi_task_set_iov_in(&library, parts, count);
  } else {
    library.xfer_dir = SCSI_XFER_WRITE;
    scsi_task_set_iov_out(&library, parts, count);
  }
}

bool LibiscsiSession::submit(ScsiTask& task) noexcept {
  if (room() == 0 || free_ == nullptr) {
    room_wanted_ = true;
    return false;
  }
  task.submitted_at = clock_.now();
  task.engine = nullptr;
  if (task.lun.value > flat_lun_max) {
    refuse_lun(task);
    return true;
  }
  Slot& slot = *free_;
  free_ = slot.next;
  fill_in(slot, task);
  int result = 0;
  {
    const LibiscsiConnection::Entry entry(connection_);
    result = iscsi_scsi_command_async(entry.context(), lun_field(task.lun.value), &slot.library, on_command_done, nullptr, &slot);
  }
  if (result != 0) {  // out of memory
    give_back(slot);
    connection_.fail(SessionEnd::aborted, "the library does not take a command");
    return false;
  }
  task.engine = &slot;
  Slot*& bucket = buckets_[slot.library.itt & (buckets_.size() - 1)];
  slot.hash_next = bucket;
  bucket = &slot;
  next_cmd_sn_ = slot.library.cmdsn + 1;
  ++commands_;
  if (first_ == nullptr) busy_since_ = task.submitted_at;
  link(task);
  TimePoint wake = task.deadline;
  if (config_.silence_limit.count() > 0) wake = std::min(wake, task.submitted_at + config_.silence_limit);
  connection_.alarm_by(wake);
  connection_.want_send();
  if (room() == 0) room_wanted_ = true;
  return true;
}

// A LUN that cannot be addressed is answered as a target would: LOGICAL UNIT NOT SUPPORTED.
void LibiscsiSession::refuse_lun(ScsiTask& task) {
  task.next = refused_;
  refused_ = &task;
  connection_.want_send();
}

// ---- slots and lists

void LibiscsiSession::give_back(Slot& slot) {
  slot.task = nullptr;
  slot.next = free_;
  free_ = &slot;
}

Slot* LibiscsiSession::find(std::uint32_t itt) const {
  Slot* slot = buckets_[itt & (buckets_.size() - 1)];
  while (slot != nullptr && slot->library.itt != itt) slot = slot->hash_next;
  return slot;
}

Slot* LibiscsiSession::find_unanswered(std::uint32_t itt) const {
  Slot* const slot = find(itt);
  return slot != nullptr && !slot->answered ? slot : nullptr;
}

void LibiscsiSession::forget(Slot& slot) {
  Slot** at = &buckets_[slot.library.itt & (buckets_.size() - 1)];
  while (*at != nullptr && *at != &slot) at = &(*at)->hash_next;
  if (*at != nullptr) *at = slot.hash_next;
}

void LibiscsiSession::link(ScsiTask& task) {
  task.next = nullptr;
  task.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &task;
  last_ = &task;
  ++in_flight_;
}

void LibiscsiSession::unlink(ScsiTask& task) {
  (task.previous != nullptr ? task.previous->next : first_) = task.next;
  (task.next != nullptr ? task.next->previous : last_) = task.previous;
  --in_flight_;
}

// ---- what the target sends

void LibiscsiSession::on_ready() {
  next_cmd_sn_ = connection_.next_cmd_sn();
  window_seen_ = connection_.max_cmd_sn() + 1 - connection_.exp_cmd_sn();
  if (config_.nop_interval.count() > 0) connection_.alarm_by(connection_.last_heard() + config_.nop_interval);
  listener_.on_session_up(*this);
}

void LibiscsiSession::on_request(bhs::View header, std::uint64_t at) noexcept {
  const Opcode opcode = bhs::opcode(header);
  if (opcode != Opcode::scsi_command && opcode != Opcode::data_out) return;
  Slot* const slot = find(bhs::itt(header));
  if (slot == nullptr) return;
  const std::uint32_t length = bhs::segment_length(header);
  if (slot->sent_at == Slot::never_sent) slot->sent_at = at - bhs::size;
  if (length == 0) return;
  slot->moved += length;
  slot->pinned_until = at + length;
}

void LibiscsiSession::on_pdu(bhs::Edit header, std::span<const std::byte> segment) noexcept {
  const std::uint32_t window = connection_.max_cmd_sn() + 1 - connection_.exp_cmd_sn();
  if (window <= 0x7fffffff) window_seen_ = std::max(window_seen_, window);
  const Opcode opcode = bhs::opcode(header);
  switch (opcode) {
    case Opcode::scsi_response:
      on_scsi_response(header, segment);
      return;
    case Opcode::data_in:
      on_data_in(header);
      return;
    case Opcode::r2t:
      on_r2t(header);
      return;
    case Opcode::async_message:
      on_async_message(header, segment);
      return;
    case Opcode::reject:
      protocol_error(fmt::format("the target rejected a PDU, reason {:#04x}", bhs::response(header)));
      return;
    case Opcode::logout_response:
    case Opcode::task_management_response:
      return;
    case Opcode::login_response:
    case Opcode::text_response:
    case Opcode::nop_in:
    case Opcode::nop_out:
    case Opcode::scsi_command:
    case Opcode::task_management_request:
    case Opcode::login_request:
    case Opcode::text_request:
    case Opcode::data_out:
    case Opcode::logout_request:
      break;
  }
  protocol_error(fmt::format("unexpected PDU, opcode {:#04x}", std::uint8_t(opcode)));
}

// The final reply. Status and sense are taken here; the library sees GOOD: it refuses statuses it does not know, and its
// parser of sense data reads past the end.
void LibiscsiSession::on_status(Slot& slot, bhs::Edit header) {
  const auto status = static_cast<scsi::Status>(bhs::scsi_status(header));
  switch (status) {
    case scsi::Status::good:
    case scsi::Status::check_condition:
    case scsi::Status::condition_met:
    case scsi::Status::busy:
    case scsi::Status::reservation_conflict:
    case scsi::Status::task_set_full:
    case scsi::Status::aca_active:
    case scsi::Status::task_aborted:
      slot.answered = true;
      slot.status = status;
      if ((bhs::flags(header) & bhs::flag_underflow) != 0) slot.residual = bhs::residual_count(header);
      header[3] = std::byte{0};
      ++responses_;
      return;
  }
  protocol_error(fmt::format("unknown SCSI status {:#04x}", bhs::scsi_status(header)));
}

// RFC 7143, 11.4.
void LibiscsiSession::on_scsi_response(bhs::Edit header, std::span<const std::byte> segment) {
  Slot* const slot = find_unanswered(bhs::itt(header));
  if (slot == nullptr) return protocol_error("reply to a command that is not outstanding");
  if (bhs::response(header) != 0) {
    return protocol_error(fmt::format("the target failed a command, response {:#04x}", bhs::response(header)));
  }
  if ((bhs::flags(header) & bhs::flag_final) == 0) return protocol_error("SCSI response without the final bit");
  on_status(*slot, header);
  if (slot->status == scsi::Status::check_condition) slot->sense = sense_of(segment);
}

// RFC 7143, 11.7. In order and in bounds, or the count of what came would mean nothing.
void LibiscsiSession::on_data_in(bhs::Edit header) {
  Slot* const slot = find_unanswered(bhs::itt(header));
  if (slot == nullptr) return protocol_error("data for a command that is not outstanding");
  const std::uint32_t length = bhs::segment_length(header);
  if (length > segment_max) return protocol_error("data segment longer than announced");
  if (slot->library.xfer_dir != SCSI_XFER_READ) return protocol_error("data for a command that reads none");
  if (bhs::buffer_offset(header) != slot->moved) return protocol_error("data out of order");
  if (length > slot->task->length - slot->moved) return protocol_error("more data than asked for");
  slot->moved += length;
  if ((bhs::flags(header) & bhs::flag_has_status) == 0) return;
  if ((bhs::flags(header) & bhs::flag_final) == 0) return protocol_error("status in a Data-In that is not the last");
  on_status(*slot, header);
}

// RFC 7143, 11.8. Unchecked, a length of gigabytes would become millions of Data-Out PDUs.
void LibiscsiSession::on_r2t(bhs::View header) {
  Slot* const slot = find_unanswered(bhs::itt(header));
  if (slot == nullptr) return protocol_error("R2T for a command that is not outstanding");
  const std::uint32_t offset = bhs::buffer_offset(header);
  const std::uint32_t length = bhs::desired_length(header);
  const std::uint32_t total = slot->library.xfer_dir == SCSI_XFER_WRITE ? slot->task->length : 0;
  if (length == 0 || offset > total || length > total - offset) return protocol_error("R2T outside of the data");
}

// RFC 7143, 11.9. The library would log out and connect again by itself, so it sees events that it ignores.
void LibiscsiSession::on_async_message(bhs::Edit header, std::span<const std::byte> segment) {
  const std::uint8_t event = bhs::async_event(header);
  const std::uint16_t seconds = bhs::async_parameter3(header);
  header[36] = std::byte{0};
  switch (event) {
    case 0:
      events_.push_back(sense_of(segment));
      return;
    case 1:    // logout requested
    case 4: {  // new negotiation requested: a new session negotiates anew
      if (leaving_) return;
      leaving_ = asked_to_leave_ = true;
      const auto limit = std::min<std::chrono::milliseconds>(std::chrono::seconds(seconds), config_.logout_timeout);
      leave_by_ = clock_.now() + limit;
      connection_.alarm_by(leave_by_);
      return;
    }
    case 2:
    case 3:
      connection_.fail(SessionEnd::asked_to_leave, "the target drops the session");
      return;
    default:  // vendor events and reserved numbers
      return;
  }
}

// (in library) Records, nothing else.
void LibiscsiSession::on_command_done(iscsi_context*, int status, void*, void* data) {
  Slot& slot = *static_cast<Slot*>(data);
  LibiscsiSession& self = *slot.owner;
  if (self.connection_.ended()) return;  // cancelled with the context; the task goes back as lost
  if (status != SCSI_STATUS_GOOD || !slot.answered) {
    self.protocol_error("the library gave a command up");
    return;
  }
  slot.finished = true;
  slot.next = nullptr;
  (self.finished_tail_ != nullptr ? self.finished_tail_->next : self.finished_head_) = &slot;
  self.finished_tail_ = &slot;
}

// ---- completion

void LibiscsiSession::on_batch() {
  complete_finished();
  for (std::size_t i = 0; i < events_.size(); ++i) listener_.on_session_event(*this, events_[i]);
  events_.clear();
  tell_reset();
  if (logout_done_) {
    if (asked_to_leave_) {
      connection_.fail(SessionEnd::asked_to_leave, "the target asked for a logout");
    } else {
      connection_.close_after_logout();
    }
    return;
  }
  if (asked_to_leave_ && in_flight_ == 0) send_logout();
  ask_for_room();
}

void LibiscsiSession::tell_reset() {
  if (!reset_result_ || !reset_done_) return;
  const bool ok = *reset_result_;
  std::exchange(reset_done_, nullptr)(ok);
}

void LibiscsiSession::on_flushed() {
  complete_finished();
  tell_reset();
  ask_for_room();
}

void LibiscsiSession::ask_for_room() {
  if (!room_wanted_ || room() == 0) return;
  room_wanted_ = false;
  listener_.on_session_room(*this);
}

void LibiscsiSession::answer_refused() {
  while (refused_ != nullptr) {
    ScsiTask& task = *refused_;
    refused_ = task.next;
    task.outcome = TaskOutcome::answered;
    task.status = scsi::Status::check_condition;
    task.sense = scsi::sense::lun_not_supported;
    task.transferred = 0;
    task.done(task);
  }
}

// A command answered before all its payload has left keeps its memory until it has.
void LibiscsiSession::complete_finished() {
  if (refused_ != nullptr) answer_refused();
  Slot* waiting_head = nullptr;
  Slot* waiting_tail = nullptr;
  while (finished_head_ != nullptr) {
    Slot& slot = *finished_head_;
    finished_head_ = slot.next;
    if (finished_head_ == nullptr) finished_tail_ = nullptr;
    if (slot.pinned_until > connection_.flushed() && !connection_.ended()) {
      slot.next = nullptr;
      (waiting_tail != nullptr ? waiting_tail->next : waiting_head) = &slot;
      waiting_tail = &slot;
      continue;
    }
    complete(slot);
  }
  finished_head_ = waiting_head;
  finished_tail_ = waiting_tail;
}

void LibiscsiSession::complete(Slot& slot) {
  ScsiTask& task = *slot.task;
  task.outcome = TaskOutcome::answered;
  task.status = slot.status;
  task.sense = slot.sense;
  const std::uint32_t length = slot.library.xfer_dir == SCSI_XFER_NONE ? 0 : task.length;
  task.transferred = std::min(slot.moved, length - std::min(length, slot.residual));
  forget(slot);
  give_back(slot);
  unlink(task);
  task.engine = nullptr;
  task.done(task);
}

// ---- the rest of Session

void LibiscsiSession::reset_lun(scsi::Lun lun, std::function<void(bool)> done) {
  CHECK(!reset_done_);
  reset_done_ = std::move(done);
  reset_result_.reset();
  if (!logged_in() || lun.value > flat_lun_max) {
    reset_result_ = false;
    connection_.want_send();
    return;
  }
  const auto answered = [](iscsi_context*, int status, void* response, void* self) {
    auto& session = *static_cast<LibiscsiSession*>(self);
    session.reset_result_ = status == SCSI_STATUS_GOOD && *static_cast<std::uint32_t*>(response) == ISCSI_TMR_FUNC_COMPLETE;
  };
  const LibiscsiConnection::Entry entry(connection_);
  const int result = iscsi_task_mgmt_async(entry.context(), lun_field(lun.value), ISCSI_TM_LUN_RESET, bhs::no_tag, 0, answered, this);
  if (result != 0) reset_result_ = false;
  connection_.want_send();
}

void LibiscsiSession::log_out() {
  if (connection_.ended()) return;
  if (!connection_.ready()) {
    connection_.fail(SessionEnd::logged_out, "logged out before the login was done");
    return;
  }
  asked_to_leave_ = false;
  send_logout();
}

void LibiscsiSession::send_logout() {
  if (std::exchange(logout_sent_, true)) return;
  leaving_ = true;
  int result = 0;
  {
    const LibiscsiConnection::Entry entry(connection_);
    const auto answered = [](iscsi_context*, int, void*, void* self) { static_cast<LibiscsiSession*>(self)->logout_done_ = true; };
    result = iscsi_logout_async(entry.context(), answered, this);
  }
  if (result != 0) {
    connection_.fail(SessionEnd::logged_out, "no logout could be sent");
    return;
  }
  connection_.corked();
  leave_by_ = clock_.now() + config_.logout_timeout;
  connection_.alarm_by(leave_by_);
  connection_.want_send();
}

TimePoint LibiscsiSession::on_alarm(TimePoint now) {
  if (now >= leave_by_) {
    if (logout_sent_) {
      connection_.fail(asked_to_leave_ ? SessionEnd::asked_to_leave : SessionEnd::logged_out, "no answer to the logout");
      return never;
    }
    leave_by_ = never;
    send_logout();  // commands that are not done by now are lost
  }
  TimePoint next = leave_by_;
  for (const ScsiTask* task = first_; task != nullptr; task = task->next) {
    if (task->deadline <= now) {
      ++timeouts_;
      expired_at_ = now;
    }
    next = std::min(next, task->deadline);
  }
  if (expired_at_ == now) {
    connection_.fail(SessionEnd::task_timeout, "a command was not answered before its deadline");
    return never;
  }
  if (config_.nop_timeout.count() <= 0 || logout_sent_) return next;

  const TimePoint heard = connection_.last_heard();
  if (connection_.nop_out()) {
    if (heard <= nop_sent_at_) {
      const TimePoint due = nop_sent_at_ + config_.nop_timeout;
      if (now >= due) {
        connection_.fail(SessionEnd::nop_timeout, fmt::format("silent for {} ms, no answer to a NOP-Out",
                         std::chrono::duration_cast<std::chrono::milliseconds>(now - heard).count()));
        return never;
      }
      return std::min(next, due);
    }
    connection_.forget_nop();  // any byte is a sign of life
  }
  const auto limit = in_flight_ > 0 ? config_.silence_limit : config_.nop_interval;
  if (limit.count() <= 0) return next;
  const TimePoint due = (in_flight_ > 0 ? std::max(heard, busy_since_) : heard) + limit;
  if (now < due) return std::min(next, due);
  connection_.send_nop();
  nop_sent_at_ = now;
  return std::min(next, now + std::min(config_.nop_timeout, limit));
}

void LibiscsiSession::return_task(ScsiTask& task) {
  const Slot& slot = *static_cast<Slot*>(task.engine);
  const bool sent = slot.sent_at != Slot::never_sent && connection_.flushed() > slot.sent_at;
  task.outcome = !sent ? TaskOutcome::not_sent : task.deadline <= expired_at_ ? TaskOutcome::timed_out : TaskOutcome::lost;
  task.transferred = 0;
  task.engine = nullptr;
  unlink(task);
  task.done(task);
}

void LibiscsiSession::on_ended(const SessionFailure& failure) {
  complete_finished();
  while (first_ != nullptr) return_task(*first_);
  if (reset_done_) std::exchange(reset_done_, nullptr)(reset_result_.value_or(false));
  if (logout_sent_ && failure.end == SessionEnd::peer_closed) {  // some targets close instead of answering
    const SessionEnd end = asked_to_leave_ ? SessionEnd::asked_to_leave : SessionEnd::logged_out;
    listener_.on_session_end(*this, {end, "closed by the target after the logout"});
    return;
  }
  listener_.on_session_end(*this, failure);
}

const SessionCounters& LibiscsiSession::counters() const {
  counters_ = connection_.counters();
  counters_.commands = commands_;
  counters_.responses = responses_;
  counters_.timeouts = timeouts_;
  return counters_;
}

}  // namespace

std::unique_ptr<Session> make_libiscsi_session(Shard& shard, SessionConfig config, SessionListener& listener) {
  return std::make_unique<LibiscsiSession>(shard, std::move(config), listener);
}

}  // namespace mpath
