#include "mpathd/path.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/check.hpp"
#include "mpathd/alua.hpp"
#include "mpathd/judgement.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath {
namespace {

constexpr unsigned check_attentions_max = 5;  // as the tur checker of multipath-tools

const char* action_word(PathAction action) {
  switch (action) {
    case PathAction::identify:
      return "identifying";
    case PathAction::check:
      return "checking";
    case PathAction::look:
      return "looking";
    case PathAction::reinstate:
      return "reinstated";
    case PathAction::fail:
      return "failed";
    case PathAction::leave:
      return "leaves its map";
  }
  return "";
}

}  // namespace

Path::Path(ScsiPort& port, scsi::Lun lun, PathIdentity identity, PathHost& host, Clock& clock, BufferPool& buffers)
    : port_(port), lun_(lun), identity_(std::move(identity)), host_(host), clock_(clock), buffers_(buffers) {
  alarm_ = clock_.make_alarm([this] { apply({PathEventKind::tick}); });
  probe_.path = this;
  probe_.done = &on_probe_done;
}

Path::~Path() {
  CHECK(idle());
}

void Path::port_up() {
  if (map_ != nullptr) map_->port_up(*map_path_);
  apply({PathEventKind::port_up});
}

void Path::port_down() {
  apply({PathEventKind::port_down});
}

void Path::identify_again() {
  apply({PathEventKind::unit_attention});
}

void Path::accept() {
  trouble_.clear();
  told_.clear();
  if (port_group_ && map_ != nullptr) map_->set_port_group(*map_path_, *port_group_);
  const auto report = std::exchange(report_, {});
  if (report) tell_groups(*report, round_losses_);
  const bool serves = access_ == CheckerState::ready;
  apply({serves ? PathEventKind::identity_same : PathEventKind::identity_standby, access_});
}

void Path::refuse(CheckerState how, const std::string& why) {
  if (trouble_ != why) {
    trouble_ = why;
    host_.on_path_line(fmt::format("path {}: refused reason=\"{}\"", identity_.device, why), true);
  }
  apply({PathEventKind::identity_failed, how});
}

void Path::set_map(MapDevice* map, MapPath* entry, CheckerKind checker, const PathTiming& timing,
                   Duration checker_timeout) {
  map_ = map;
  map_path_ = entry;
  checker_ = checker;
  timing_ = timing;
  checker_timeout_ = checker_timeout;
}

void Path::on_unit_attention(const scsi::Sense& sense, bool reread_identity) {
  host_.on_path_line(
      fmt::format("path {}: unit attention asc={:02x} ascq={:02x}", identity_.device, sense.asc, sense.ascq), false);
  if (reread_identity)
    apply({PathEventKind::unit_attention});
  else if (access_changed(sense))
    on_look_wanted();
}

void Path::on_look_wanted() {
  const bool has_states = facts_ && facts_->alua && port_group_;
  if (usable(state_) && !has_states) return;  // there is nothing that could have changed
  if (probe_.busy && probe_.purpose == Purpose::groups) look_pending_ = true;  // its answer may be older than the news
  apply({PathEventKind::look});
}

// The one place where a transition happens.
void Path::apply(const PathEvent& event) {
  const PathState before = state_;
  timing_.hungry_since = map_ != nullptr ? map_->hungry_since() : never;
  PathStep next = step(before, event, clock_.now(), timing_);
  state_ = std::move(next.next);
  alarm_->set(next.wake_at);
  if (state_.index() != before.index() && !old_news(before)) {
    std::string line = fmt::format("path {}: {} -> {}", identity_.device, state_name(before), state_name(state_));
    if (!trouble_.empty() && std::holds_alternative<PathFaulty>(state_))
      line += fmt::format(" reason=\"{}\"", trouble_);
    host_.on_path_line(line, usable(before) && !usable(state_) && !in_standby(state_));
  }
  // Pending before "fail" and until after "reinstate": the map must not take the moment between for the loss of its
  // last path. Standby likewise: such a path may be all that there is to wait for.
  const bool pending = std::holds_alternative<PathIdentifying>(state_);
  if (pending && map_ != nullptr) map_->set_pending(*map_path_, true);
  if (in_standby(state_) && map_ != nullptr) map_->set_standby(*map_path_, true);
  for (const PathAction action : next.actions) act(action);
  if (map_ == nullptr) return;
  map_->set_standby(*map_path_, in_standby(state_));
  map_->set_pending(*map_path_, std::holds_alternative<PathIdentifying>(state_));
}

// A path that cannot be identified is tried again and again: the log has it once, as long as the reason is the same.
bool Path::old_news(const PathState& before) {
  const bool gives_up = std::holds_alternative<PathFaulty>(state_) && std::holds_alternative<PathIdentifying>(before);
  const bool tries = std::holds_alternative<PathIdentifying>(state_) && std::holds_alternative<PathFaulty>(before);
  if (gives_up && told_ != trouble_) {
    told_ = trouble_;
    return false;
  }
  return (gives_up || tries) && !told_.empty();
}

void Path::act(PathAction action) {
  switch (action) {
    case PathAction::identify:
      return start_identification();
    case PathAction::check:
      check_attentions_ = 0;
      return start_check();
    case PathAction::look:
      check_attentions_ = 0;
      return start_look();
    case PathAction::reinstate:
      CHECK(map_ != nullptr);
      return map_->set_usable(*map_path_, true);
    case PathAction::fail:
      if (map_ != nullptr) map_->set_usable(*map_path_, false);
      return;
    case PathAction::leave:
      host_.on_path_line(
          fmt::format("path {}: {}: it carries another logical unit now", identity_.device, action_word(action)), true);
      return host_.on_foreign(*this);
  }
}

void Path::start_identification() {
  ++round_;
  round_losses_ = map_ != nullptr ? map_->losses() : 0;
  look_pending_ = false;
  identification_.emplace();
  if (!probe_.busy) ask_next();  // else its completion finds a newer round and asks
}

void Path::ask_next() {
  const auto& query = identification_->next();
  if (!query) return conclude();
  if (!send(Purpose::identify, query->cdb, query->length)) {
    // Down or full. Down is followed by port_down; full passes.
    trouble_ = "no room for the identification";
    apply({PathEventKind::identity_failed, CheckerState::pending});
  }
}

void Path::conclude() {
  const Identification::Outcome outcome = identification_->outcome();
  identification_.reset();
  if (!std::holds_alternative<PathIdentifying>(state_)) return;
  switch (outcome.kind) {
    case Identification::Outcome::Kind::known:
      take_facts(outcome);
      return host_.on_identified(*this, *facts_);
    case Identification::Outcome::Kind::not_a_disk:
      return host_.on_not_a_disk(*this);  // may destroy this path
    case Identification::Outcome::Kind::failed:
      if (map_ != nullptr && outcome.report && port_group_ == outcome.port_group)
        tell_groups(*outcome.report, round_losses_);
      return refuse(outcome.checker, outcome.text);
  }
}

// A path in standby keeps what it was known by before, as far as it is the same unit.
void Path::take_facts(const Identification::Outcome& outcome) {
  const bool remembered = !outcome.sized && sized_ && facts_ && facts_->wwid == outcome.facts.wwid;
  if (!remembered) {
    facts_ = outcome.facts;
    sized_ = outcome.sized;
  }
  access_ = outcome.checker;
  port_group_ = outcome.port_group;
  report_ = outcome.report;
  extended_report_ = outcome.extended_report;
}

void Path::start_check() {
  bool sent = false;
  switch (checker_) {
    case CheckerKind::tur:
      sent = send(Purpose::check, scsi::test_unit_ready_cdb(), 0);
      break;
    case CheckerKind::directio:
      sent = send(Purpose::check, scsi::read_cdb(0, 1), facts_ ? facts_->block_size : 512);
      break;
  }
  if (!sent) not_sent();
}

void Path::start_look() {
  look_pending_ = probe_.busy;  // then once that is answered
  if (probe_.busy) return;
  if (facts_ && facts_->alua && port_group_) return ask_groups();
  if (!send(Purpose::check, scsi::test_unit_ready_cdb(), 0)) not_sent();
}

void Path::ask_groups() {
  if (!send(Purpose::groups, scsi::report_target_port_groups_cdb(port_groups_bytes_max, extended_report_),
            port_groups_bytes_max)) {
    not_sent();
  }
}

// A port that is up and full is a port that works: its commands have deadlines of their own.
void Path::not_sent() {
  if (usable(state_)) return apply({PathEventKind::check_good});
  apply({PathEventKind::check_bad, shown_checker_state(state_)});
}

bool Path::send(Purpose purpose, const scsi::Cdb& cdb, std::uint32_t length) {
  CHECK(!probe_.busy);
  probe_.purpose = purpose;
  probe_.round = round_;
  probe_.losses = map_ != nullptr ? map_->losses() : 0;
  probe_.cdb = cdb;
  probe_.lun = lun_;
  probe_.length = length;
  probe_.direction = length == 0 ? DataDirection::none : DataDirection::in;
  probe_.deadline = clock_.now() + checker_timeout_;
  probe_.data = {};
  if (length != 0) {
    probe_.buffer = buffers_.take(length);
    probe_.piece = {probe_.buffer.data(), length};
    probe_.data = std::span<const iovec>(&probe_.piece, 1);
  }
  probe_.busy = port_.submit(probe_);
  if (!probe_.busy) probe_.buffer.reset();
  return probe_.busy;
}

void Path::on_probe_done(ScsiTask& task) noexcept {
  Probe& probe = static_cast<Probe&>(task);
  probe.busy = false;
  Path& path = *probe.path;
  path.on_probe_answer(probe.purpose, probe.round == path.round_);
}

void Path::on_probe_answer(Purpose purpose, bool current) {
  const Buffer data = std::move(probe_.buffer);
  if (probe_.outcome != TaskOutcome::answered) return;  // the session ended: port_down follows
  const std::size_t told = std::min<std::size_t>(probe_.transferred, data.size());
  const auto bytes = std::as_bytes(data.bytes()).first(told);
  if (std::holds_alternative<PathIdentifying>(state_)) {
    if (!identification_) return;
    if (purpose == Purpose::identify && current) identification_->answer(probe_.status, probe_.sense, bytes);
    return ask_next();
  }
  if (look_pending_) return start_look();
  switch (purpose) {
    case Purpose::identify:
      return;
    case Purpose::check:
      return on_check_answer();
    case Purpose::groups:
      return on_groups_answer(bytes);
  }
}

void Path::on_check_answer() {
  const Judgement judgement = judge(probe_.status, probe_.sense);
  // The port groups are asked last, and their answer is the outcome of the check.
  const auto good = [this] {
    if (usable(state_) && facts_ && facts_->alua && port_group_) return ask_groups();
    apply({PathEventKind::check_good});
  };
  switch (judgement.verdict) {
    case Verdict::done:
    case Verdict::retry:
    case Verdict::retry_later:
      return good();
    case Verdict::to_caller: {
      // The path brought an answer; only a medium that cannot be read at all is bad news, and only for directio.
      if (checker_ == CheckerKind::tur || judgement.status == BlockStatus::conflict) return good();
      return apply({PathEventKind::check_bad, CheckerState::faulty});
    }
    case Verdict::path_failed:
      return apply({PathEventKind::check_bad, judgement.checker});
    case Verdict::attention:
      if (!judgement.reread_identity && ++check_attentions_ < check_attentions_max) return check_again();
      return on_unit_attention(probe_.sense, true);
  }
}

void Path::on_groups_answer(std::span<const std::byte> data) {
  if (!port_group_) return not_sent();
  const Judgement judgement = judge(probe_.status, probe_.sense);
  if (judgement.verdict == Verdict::attention) {
    if (!judgement.reread_identity && ++check_attentions_ < check_attentions_max) return ask_groups();
    return on_unit_attention(probe_.sense, true);
  }
  if (judgement.verdict == Verdict::path_failed) return apply({PathEventKind::check_bad, judgement.checker});
  const auto report = scsi::decode_port_group_report(data);
  const scsi::PortGroup* ours =
      probe_.status == scsi::Status::good && report ? find_group(*report, *port_group_) : nullptr;
  if (ours == nullptr) return not_sent();  // it tells nothing new
  const CheckerState checker = checker_state_of(ours->state);
  tell_groups(*report, probe_.losses);
  apply({checker == CheckerState::ready ? PathEventKind::check_good : PathEventKind::check_bad, checker});
}

// After a unit attention: the same once more.
void Path::check_again() {
  usable(state_) ? start_check() : start_look();
}

void Path::tell_groups(const scsi::PortGroupReport& report, std::uint64_t losses) {
  if (map_ != nullptr) map_->on_port_groups(*map_path_, report, losses);
}

PathSnapshot Path::path_snapshot() const {
  PathSnapshot shot;
  shot.device = identity_.device;
  shot.host = identity_.sid;
  shot.lun = lun_.value;
  shot.dev_t = fmt::format("0:{}", identity_.sid);
  shot.dm_state = map_ == nullptr ? DmState::undef : shown_dm_state(state_);
  shot.checker_state = shown_checker_state(state_);
  shot.device_state = port_.up() ? "running" : "offline";
  switch (checker_) {
    case CheckerKind::tur:
      shot.checker = "tur";
      break;
    case CheckerKind::directio:
      shot.checker = "directio";
      break;
  }
  if (const auto* up = std::get_if<PathUp>(&state_)) {
    using std::chrono::seconds;
    shot.check_interval = static_cast<unsigned>(std::chrono::round<seconds>(up->interval).count());
    const auto since = std::chrono::floor<seconds>(clock_.now() - up->checked_at).count();
    shot.next_check = std::min(shot.check_interval, static_cast<unsigned>(std::max<std::int64_t>(0, since)));
  }
  if (facts_) {
    shot.wwid = facts_->wwid;
    shot.vendor = facts_->vendor;
    shot.product = facts_->product;
    shot.revision = facts_->revision;
    shot.serial = facts_->serial;
    shot.size_bytes = facts_->size_bytes;
  }
  shot.port_group = port_group_;
  shot.target_name = identity_.target_name;
  shot.initiator_name = identity_.initiator_name;
  shot.portal = identity_.portal;
  shot.iface = identity_.iface;
  shot.net_ifacename = identity_.net_ifacename;
  return shot;
}

}  // namespace mpath
