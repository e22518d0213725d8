// How a session begins, changes and ends: logical units, connections, alarms.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"
#include "base/shard.hpp"
#include "target/iscsi/session_pdus.hpp"
#include "wire/iscsi_text.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t table_size = 1024;

}  // namespace

Session::Session(Shard& shard, Options options, Host host, const Log& log)
    : shard_(shard),
      options_(std::move(options)),
      host_(std::move(host)),
      log_(log),
      parameters_(options_.admission.parameters),
      view_(options_.admission.target),
      window_(options_.cmd_sn, view_ != nullptr ? std::max(view_->window, 1U) : discovery_window),
      table_(table_size),
      mailbox_(shard.context(), this, &Session::on_mail) {}

Session::~Session() {
  CHECK(members_.empty() && working_ == 0);
}

void Session::start() {
  apply_view();
  settle();
}

// ---- logical units -------------------------------------------------------------------------------------------------

NexusName Session::nexus_name() const {
  const Admission& admission = options_.admission;
  NexusName name{.initiator = {admission.initiator_name, admission.isid},
                 .target = {.target = view_->name, .portal_group = admission.portal_group}};
  if (const PortalGroupView* const group = view_->group(admission.portal_group)) {
    name.target.relative_id = group->relative_id;
    name.target.alua_group = group->alua_group;
  }
  return name;
}

LunSlot* Session::slot_of(iscsi::LunField field) {
  const auto lun = scsi::parse_lun_field(field);
  if (!lun) return nullptr;
  for (const auto& slot : slots_) {
    if (slot->lun == *lun) return slot.get();
  }
  return nullptr;
}

// Holds the slots against the picture: new units are reached, others left.
void Session::apply_view() {
  for (const auto& slot : slots_) {
    const LunEntry* const entry = view_ != nullptr ? view_->find(slot->lun) : nullptr;
    slot->wanted = entry != nullptr ? entry->unit : nullptr;
  }
  if (view_ != nullptr) {
    for (const LunEntry& entry : view_->luns) {
      const auto known = std::ranges::any_of(slots_, [&](const auto& slot) { return slot->lun == entry.lun; });
      if (known) continue;
      auto slot = std::make_unique<LunSlot>();
      slot->lun = entry.lun;
      slot->wanted = entry.unit;
      slots_.push_back(std::move(slot));
    }
  }
  for (const auto& slot : slots_) {
    if (slot->unit == slot->wanted) continue;
    if (slot->state == LunSlot::State::attached) detach(*slot);
    if (slot->state == LunSlot::State::absent) attach(*slot);
  }
}

void Session::attach(LunSlot& slot) {
  if (slot.wanted == nullptr) return;
  slot.unit = slot.wanted;
  slot.state = LunSlot::State::attaching;
  slot.unit->shard().post([self = shared_from_this(), &slot, unit = slot.unit, name = nexus_name()] {
    Nexus* const nexus = &unit->attach(name);
    self->shard_.post([self, &slot, nexus] {
      slot.nexus = nexus;
      slot.state = LunSlot::State::attached;
      if (slot.wanted != slot.unit) self->detach(slot);
      self->settle();
    });
  });
}

void Session::detach(LunSlot& slot) {
  slot.state = LunSlot::State::detaching;
  for (Command* command = list_; command != nullptr; command = command->list_next) {
    if (command->slot == &slot && command->state == Command::State::working) command->silent = true;
  }
  slot.unit->shard().post([self = shared_from_this(), &slot, unit = slot.unit, nexus = slot.nexus] {
    unit->detach(*nexus, [self, &slot] {
      self->shard_.post([self, &slot] {
        slot.nexus = nullptr;
        slot.unit = nullptr;
        slot.state = LunSlot::State::absent;
        self->attach(slot);
        self->settle();
      });
    });
  });
}

// Called whenever a unit was reached or left.
void Session::settle() {
  const bool moving = std::ranges::any_of(slots_, [](const auto& slot) {
    return slot->state == LunSlot::State::attaching || slot->state == LunSlot::State::detaching;
  });
  if (moving) return;
  if (state_ == State::starting) {
    state_ = State::running;
    for (auto& [member, connection] : std::exchange(waiting_, {})) {
      if (member->gone) continue;
      member->link.start(std::move(connection.last_response), connection.leftover);
      arm(*member);
    }
  }
  for (const auto& done : std::exchange(settled_, {})) done();
  advance_end();
}

void Session::update(std::shared_ptr<const TargetsView> targets, std::function<void()> done) {
  options_.targets = targets;
  if (state_ == State::leaving || state_ == State::ended || options_.admission.discovery) {
    done();
    return;
  }
  auto view = targets->find(options_.admission.target->name);
  if (view != nullptr) view_ = std::move(view);
  settled_.push_back(std::move(done));
  apply_view();
  settle();
}

// ---- connections ---------------------------------------------------------------------------------------------------

void Session::add(const Admission& admission, Established connection) {
  if (state_ == State::leaving || state_ == State::ended) {
    host_.connection_gone(admission.cid);
    return;
  }
  const iscsi::Parameters& agreed = admission.parameters;
  auto owned = std::make_unique<Member>(
      *this, std::move(connection.socket), shard_.context(), shard_.buffers(),
      Connection::Options{agreed.header_digest, agreed.data_digest, agreed.receive_segment_max});
  Member& member = *owned;
  members_.push_back(std::move(owned));
  member.cid = admission.cid;
  member.remote = admission.remote;
  member.local = admission.local;
  member.send_segment_max = agreed.send_segment_max;
  member.stat_sn = connection.stat_sn;
  member.alarm = shard_.clock().make_alarm([this, &member] { on_alarm(member); });
  if (state_ == State::starting) {
    waiting_.emplace_back(&member, std::move(connection));
    return;
  }
  member.link.start(std::move(connection.last_response), connection.leftover);
  arm(member);
}

Member* Session::member_of(std::uint16_t cid) {
  for (const auto& member : members_) {
    if (member->cid == cid && !member->gone) return member.get();
  }
  return nullptr;
}

void Session::drop_connection(std::uint16_t cid, std::function<void()> done) {
  Member* const member = member_of(cid);
  if (member == nullptr) {
    done();
    return;
  }
  member->when_gone.push_back(std::move(done));
  member->link.close(std::make_error_code(std::errc::connection_aborted));
}

std::vector<Member*> Session::members_at(const std::optional<IpAddress>& local) {
  std::vector<Member*> found;
  for (const auto& member : members_) {
    const auto address = iscsi::parse_target_address(member->local);
    const bool there = !local || (address && parse_ip_address(address->host) == *local);
    if (!member->gone && there) found.push_back(member.get());
  }
  return found;
}

void Session::mute_connections(const IpAddress& local) {
  for (Member* const member : members_at(local)) hush(*member);
}

// An initiator at an address that moves has no other path: that the unit is standby here, or on its way, would be an
// error to it. It is reset instead, a little later, and then finds the node that has the address.
bool Session::better_unsaid(const Command& command) const {
  if (command.status != scsi::Status::check_condition || view_ == nullptr) return false;
  const PortalGroupView* const group = view_->group(options_.admission.portal_group);
  if (group == nullptr || !group->moving) return false;
  const auto decoded = scsi::decode_sense(command.sense.view());
  return decoded && (decoded->sense == scsi::sense::alua_transition || decoded->sense == scsi::sense::alua_standby ||
                     decoded->sense == scsi::sense::alua_unavailable);
}

void Session::hush(Member& member) {
  if (member.gone || std::exchange(member.hushed, true)) return;
  member.link.mute();
  member.alarm->set(shard_.clock().now() + std::chrono::milliseconds(options_.limits.hush_ms));
}

std::size_t Session::reset_connections(const std::optional<IpAddress>& local, const char* why) {
  const auto leaving = members_at(local);
  for (Member* const member : leaving) {
    log_.notice("connection {} reset remote={} reason={}", member->cid, member->remote, quoted(why));
    member->link.reset(std::make_error_code(std::errc::connection_aborted));
  }
  return leaving.size();
}

void Member::on_closed(Connection&, error_code why) {
  session.on_closed(*this, why);
}

void Session::on_closed(Member& member, error_code why) {
  member.gone = true;
  member.alarm.reset();
  const ConnectionCounters& counted = member.link.counters();
  counters_.digest_errors += counted.digest_errors;
  counters_.receives += counted.receives;
  counters_.sends += counted.sends;
  counters_.wakes += counted.wakes;
  if (state_ == State::running && why) {
    log_.notice("connection {} lost remote={} reason={}", member.cid, member.remote, quoted(why.message()));
  }
  while (OutPdu* const pdu = member.unacknowledged.pop_front()) on_sent(*pdu);
  std::erase_if(waiting_, [&member](const auto& each) { return each.first == &member; });
  const bool last = std::ranges::all_of(members_, [](const auto& other) { return other->gone; });
  if (last) {
    end("no connection");
  } else {
    abort_member(member);
    deliver_ready();
  }
  check(member);
  advance_end();
}

// A connection whose tasks have all ended can be answered, or forgotten.
void Session::check(Member& member) {
  if (member.logout != nullptr) {
    const std::uint32_t others = member.commands - (member.logout->member == &member ? 1 : 0);
    if (others > 0) return;
    Command& command = *std::exchange(member.logout, nullptr);
    if (command.member->gone) {
      if (--command.out_pdus == 0) retire(command);
    } else {
      answer_logout(command, iscsi::LogoutResult::closed);
      --command.out_pdus;
    }
    member.link.finish();
    return;
  }
  if (!member.gone || member.commands > 0 || sweeping_) return;
  sweeping_ = true;
  shard_.post([self = shared_from_this()] { self->sweep(); });
}

void Session::sweep() {
  sweeping_ = false;
  for (auto at = members_.begin(); at != members_.end();) {
    Member& member = **at;
    if (!member.gone || member.commands > 0) {
      ++at;
      continue;
    }
    const auto done = std::move(member.when_gone);
    const std::uint16_t cid = member.cid;
    at = members_.erase(at);
    host_.connection_gone(cid);
    for (const auto& each : done) each();
  }
  advance_end();
}

// ---- the end -------------------------------------------------------------------------------------------------------

void Session::end(const char* why) {
  if (state_ == State::leaving || state_ == State::ended) return;
  log_.info("ending reason={}", quoted(why));
  state_ = State::leaving;
  for (auto& [member, connection] : std::exchange(waiting_, {})) member->link.close({});
  if (farewell_ == nullptr) {
    for (const auto& member : members_) member->link.close(std::make_error_code(std::errc::connection_aborted));
  } else {
    for (const auto& member : members_) member->leaving = true;
  }
  for (Command* command = list_; command != nullptr;) {
    const bool passive = command->state == Command::State::working || command->state == Command::State::answering;
    if (passive) {
      command->silent = command->state == Command::State::working;
      command = command->list_next;
    } else {
      kill(*command);
      command = list_;
    }
  }
  for (const auto& slot : slots_) {
    slot->wanted = nullptr;
    if (slot->state == LunSlot::State::attached) detach(*slot);
  }
  advance_end();
}

// Takes the next step of the end once nothing is left to do before it.
void Session::advance_end() {
  if (state_ != State::leaving || working_ > 0) return;
  const bool attached =
      std::ranges::any_of(slots_, [](const auto& slot) { return slot->state != LunSlot::State::absent; });
  if (attached) return;
  if (farewell_ != nullptr) {
    Command& command = *std::exchange(farewell_, nullptr);
    if (!command.member->gone) answer_logout(command, iscsi::LogoutResult::closed);
    for (const auto& member : members_) member->link.finish();
    if (--command.out_pdus == 0) retire(command);
    return;
  }
  if (!members_.empty()) return;
  state_ = State::ended;
  shard_.post([self = shared_from_this()] { self->host_.ended(); });
}

void Session::ask_logout(std::uint16_t seconds) {
  for (const auto& member : members_) {
    send_async(*member, {.event = iscsi::AsyncEvent::logout_request, .parameter3 = seconds});
  }
}

void Session::announce_end() {
  if (members_.empty() || state_ != State::running) return;
  send_async(*members_.front(), {.event = iscsi::AsyncEvent::session_drop,
                                 .parameter2 = static_cast<std::uint16_t>(parameters_.time2wait)});
  members_.front()->link.send_now();
}

void Session::attention(const LogicalUnit* unit, const scsi::Sense& sense) {
  if (state_ != State::running) return;
  const auto slot = std::ranges::find_if(slots_, [&](const auto& each) { return each->unit.get() == unit; });
  const auto member = std::ranges::find_if(members_, [](const auto& each) { return each->link.open(); });
  if (slot == slots_.end() || member == members_.end()) return;
  const scsi::SenseBytes bytes = scsi::encode_sense({.sense = sense});
  std::vector<std::byte> data{std::byte{0}, static_cast<std::byte>(bytes.length)};
  data.insert(data.end(), bytes.view().begin(), bytes.view().end());
  send_async(**member, {.event = iscsi::AsyncEvent::scsi_event, .lun = scsi::lun_field((*slot)->lun)}, data);
}

// ---- dead initiators -----------------------------------------------------------------------------------------------

void Session::arm(Member& member) {
  const std::uint32_t idle = view_ != nullptr ? view_->nop_interval_ms : options_.limits.discovery_idle_ms;
  if (idle == 0 || member.gone) return;
  member.alarm->set(shard_.clock().now() + std::chrono::milliseconds(idle));
}

void Session::on_alarm(Member& member) {
  if (member.gone || !member.link.open()) return;
  if (member.hushed) {
    member.link.reset(std::make_error_code(std::errc::connection_aborted));
    return;
  }
  if (member.link.was_active()) {
    member.pinged = false;
    arm(member);
    return;
  }
  if (member.pinged) {
    log_.warning("connection {} dropped reason=\"no answer\" remote={}", member.cid, member.remote);
    member.link.close(std::make_error_code(std::errc::timed_out));
    return;
  }
  ping(member);
  const std::uint32_t limit = view_ != nullptr ? view_->nop_timeout_ms : options_.limits.discovery_idle_ms;
  member.alarm->set(shard_.clock().now() + std::chrono::milliseconds(limit));
}

SessionStatus Session::status() const {
  const Admission& admission = options_.admission;
  SessionStatus status{.sid = options_.sid,
                       .tsih = options_.tsih,
                       .discovery = admission.discovery,
                       .target = view_ != nullptr ? view_->name : std::string(),
                       .portal_group = admission.portal_group,
                       .initiator_name = admission.initiator_name,
                       .initiator_alias = admission.initiator_alias,
                       .user = admission.user,
                       .isid = admission.isid,
                       .parameters = parameters_,
                       .shard = shard_.index(),
                       .commands = counters_.commands,
                       .data_in_bytes = counters_.data_in,
                       .data_out_bytes = counters_.data_out,
                       .digest_errors = counters_.digest_errors,
                       .protocol_errors = counters_.protocol_errors,
                       .receives = counters_.receives,
                       .sends = counters_.sends,
                       .wakes = counters_.wakes};
  for (const auto& member : members_) {
    if (member->gone) continue;
    const Connection::Options& link = member->link.options();
    status.connections.push_back({.cid = member->cid,
                                  .remote = member->remote,
                                  .local = member->local,
                                  .header_digest = link.header_digest,
                                  .data_digest = link.data_digest});
    const ConnectionCounters& counted = member->link.counters();
    status.digest_errors += counted.digest_errors;
    status.receives += counted.receives;
    status.sends += counted.sends;
    status.wakes += counted.wakes;
  }
  return status;
}

}  // namespace mpath::target
