#include "target/iscsi/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/shard.hpp"
#include "target/iscsi/session_pdus.hpp"
#include "target/scsi/absent_unit.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t table_bits = 10;

std::size_t place_in_table(std::uint32_t itt) {
  return (itt * 0x9e3779b1U) >> (32 - table_bits);
}

}  // namespace

std::array<std::span<std::byte>, 2> Command::places(std::uint32_t offset, std::uint32_t count) {
  std::array<std::span<std::byte>, 2> result;
  const std::uint32_t in_first = offset < first_bytes ? std::min(count, first_bytes - offset) : 0;
  if (in_first > 0) result[0] = first.bytes().subspan(offset, in_first);
  if (in_first < count) result[1] = rest.bytes().subspan(offset + in_first - first_bytes, count - in_first);
  return result;
}

// ---- commands in their slab and their tables -----------------------------------------------------------------------

Command& Session::claim(Member& member) {
  Command& command = commands_.get();
  static_cast<Task&>(command) = Task{};
  command.session = this;
  command.member = &member;
  command.state = Command::State::arriving;
  command.immediate = command.counted = command.in_turn = command.granted = false;
  command.in_order_queue = command.silent = false;
  command.slot = nullptr;
  command.out_pdus = 0;
  command.need = command.first_bytes = command.budget = command.expected = 0;
  command.done = &Session::on_done;
  ++member.commands;
  command.list_previous = nullptr;
  command.list_next = list_;
  if (list_ != nullptr) list_->list_previous = &command;
  list_ = &command;
  return command;
}

void Session::insert(Command& command) {
  Command*& place = table_[place_in_table(command.tag)];
  command.table_next = place;
  place = &command;
}

Command* Session::find(std::uint32_t itt) const {
  Command* command = table_[place_in_table(itt)];
  while (command != nullptr && command->tag != itt) command = command->table_next;
  return command;
}

// The place of a command in the window, or among the immediate ones, is free again.
void Session::release(Command& command) {
  if (!std::exchange(command.counted, false)) return;
  if (command.immediate) {
    --immediate_;
  } else {
    window_.release();
  }
}

void Session::retire(Command& command) noexcept {
  release(command);
  Member& member = *command.member;
  if (member.target == &command) {
    member.target = nullptr;
    member.link.discard_rest();
  }
  for (Command** at = &table_[place_in_table(command.tag)]; *at != nullptr; at = &(*at)->table_next) {
    if (*at != &command) continue;
    *at = command.table_next;
    break;
  }
  if (command.list_previous != nullptr) {
    command.list_previous->list_next = command.list_next;
  } else {
    list_ = command.list_next;
  }
  if (command.list_next != nullptr) command.list_next->list_previous = command.list_previous;
  command.first.reset();
  command.rest.reset();
  const bool had_memory = command.budget > 0;
  data_bytes_ -= command.budget;
  commands_.put(command);
  --member.commands;
  check(member);
  if (had_memory) feed();
}

namespace {

void take_out(IntrusiveQueue<Command, &Command::queue_next>& queue, const Command& command) {
  auto all = queue.take_all();
  while (Command* const other = all.pop_front()) {
    if (other != &command) queue.push_back(*other);
  }
}

}  // namespace

// Ends a command without an answer, wherever it is.
void Session::kill(Command& command) {
  switch (command.state) {
    case Command::State::arriving:
      // Its number is used up, unless the connection died before it was whole: then it may come again.
      if (!command.immediate && !command.member->gone && window_.takes(command.cmd_sn)) {
        window_.put(command.cmd_sn, nullptr);
      }
      retire(command);
      return;
    case Command::State::early:
      window_.empty(command.cmd_sn);
      retire(command);
      return;
    case Command::State::starved:
      take_out(starved_, command);
      retire(command);
      return;
    case Command::State::gathering: {
      LunSlot* const slot = command.slot;
      if (std::holds_alternative<iscsi::TaskRequest>(command.request)) {
        take_out(managements_, command);
      } else if (slot != nullptr && command.in_order_queue) {
        take_out(slot->ordered, command);
      } else if (slot != nullptr) {
        --slot->unordered;
      }
      retire(command);
      if (slot != nullptr) pump(*slot);
      return;
    }
    case Command::State::working:
      command.silent = true;
      return;
    case Command::State::answering:
      return;
  }
}

// ---- order of the session ------------------------------------------------------------------------------------------

void Session::deliver_ready() {
  if (delivering_) return;
  delivering_ = true;
  while (window_.ready() && state_ == State::running) {
    Command* const command = window_.next();
    if (command == nullptr) continue;
    command->counted = true;
    deliver(*command);
  }
  delivering_ = false;
  manage_waiting();
}

void Session::deliver(Command& command) {
  command.in_turn = true;
  if (command.is_scsi()) {
    begin(command);
  } else if (std::holds_alternative<iscsi::TaskRequest>(command.request)) {
    manage(command);
  } else if (std::holds_alternative<iscsi::NopOut>(command.request)) {
    answer_nop(command);
  } else if (std::holds_alternative<iscsi::TextRequest>(command.request)) {
    answer_text(command);
  } else {
    log_out(command);
  }
}

// ---- memory --------------------------------------------------------------------------------------------------------

void Session::begin(Command& command) {
  ++counters_.commands;
  command.state = Command::State::starved;
  if (!starved_.empty() || !grant(command)) {
    starved_.push_back(command);
    return;
  }
  gather(command);
}

// Takes the memory that the command still needs. A command that is larger than all there is waits until it is alone.
bool Session::grant(Command& command) {
  const bool out = command.scsi().write && command.sequence.needed() > 0;
  const std::uint32_t bytes = out ? command.need - command.first_bytes : (command.first ? 0 : command.need);
  if (bytes == 0 || (out && command.sequence.fault() != WriteFault::none)) return true;
  if (data_bytes_ > 0 && data_bytes_ + bytes > options_.limits.data_bytes_max) return false;
  (out ? command.rest : command.first) = shard_.buffers().take(bytes);
  if (!out) command.first_bytes = bytes;
  command.budget += bytes;
  data_bytes_ += bytes;
  return true;
}

// Memory came back: those who waited for it go on, in their order.
void Session::feed() {
  if (feeding_) return;
  feeding_ = true;
  while (Command* const command = starved_.front()) {
    if (state_ != State::running || !grant(*command)) break;
    static_cast<void>(starved_.pop_front());
    gather(*command);
  }
  feeding_ = false;
}

// ---- data, and the order of a logical unit -------------------------------------------------------------------------

void Session::gather(Command& command) {
  command.state = Command::State::gathering;
  command.granted = true;
  LunSlot* const slot = command.slot;
  if (slot != nullptr) {
    const bool ordered = command.attribute == iscsi::TaskAttribute::ordered;
    const bool passes = command.attribute == iscsi::TaskAttribute::head_of_queue;
    if (!passes &&
        (!slot->ordered.empty() || (ordered && slot->unordered > 0) || (ordered && !command.sequence.ended()))) {
      command.in_order_queue = true;
      slot->ordered.push_back(command);
    } else {
      ++slot->unordered;
    }
  }
  while (const auto burst = command.sequence.next_r2t(ttt_)) {
    ttt_ = ttt_ + 1 == iscsi::reserved_tag ? 0 : ttt_ + 1;
    send_r2t(command, *burst);
  }
  if (command.sequence.ended()) gathered(command);
}

void Session::gathered(Command& command) {
  LunSlot* const slot = command.slot;
  if (command.in_order_queue) {
    pump(*slot);
    return;
  }
  if (slot != nullptr) --slot->unordered;
  submit(command);
  if (slot != nullptr) pump(*slot);
}

// Lets pass what nothing before it holds back: an ORDERED command waits for the data of everything before it, and
// everything after it waits for its.
void Session::pump(LunSlot& slot) {
  while (Command* const command = slot.ordered.front()) {
    const bool ready = command->sequence.ended();
    if (command->attribute == iscsi::TaskAttribute::ordered && (!ready || slot.unordered > 0)) return;
    static_cast<void>(slot.ordered.pop_front());
    command->in_order_queue = false;
    if (ready) {
      submit(*command);
    } else {
      ++slot.unordered;
    }
  }
}

void Session::submit(Command& command) {
  if (command.sequence.fault() != WriteFault::none) {
    ++counters_.protocol_errors;
    fail(command, sense_of(command.sequence.fault()));
    return;
  }
  LunSlot* const slot = command.slot;
  const bool here = slot != nullptr && slot->state == LunSlot::State::attached;
  if (!here || is_report_luns(command)) {
    run_local(command);
    return;
  }
  command.state = Command::State::working;
  ++working_;
  command.nexus = slot->nexus;
  set_buffers(command);
  command.home = &slot->unit->shard() == &shard_ ? nullptr : &mailbox_;
  slot->unit->submit(command);
}

void Session::set_buffers(Command& command) {
  std::size_t count = 0;
  if (command.first_bytes > 0) command.vectors[count++] = {command.first.data(), command.first_bytes};
  if (command.rest) command.vectors[count++] = {command.rest.data(), command.rest.size()};
  const auto vectors = std::span<const iovec>(command.vectors).first(count);
  if (command.sequence.needed() > 0) {
    command.data_out = vectors;
    command.data_out_bytes = command.need;
    counters_.data_out += command.need;
  } else {
    command.data_in = vectors;
    command.data_in_room = command.need;
  }
  command.expected_bytes = command.expected;
  command.expects_data_in = command.scsi().read;
  command.expects_data_out = command.scsi().write;
  command.expected_bytes = command.expected;
}

void Session::on_done(Task& task) noexcept {
  auto& command = static_cast<Command&>(task);
  command.session->done(command);
}

void Session::on_mail(void*, Task& task) noexcept {
  task.done(task);
}

void Session::done(Command& command) noexcept {
  --working_;
  const bool silent =
      command.aborted || command.silent || command.member->gone || command.member->leaving || state_ != State::running;
  if (silent) {
    retire(command);
    deliver_ready();
  } else {
    respond(command);
  }
  advance_end();
}

}  // namespace mpath::target
