#include "initiator/nexus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/check.hpp"

namespace mpath {
namespace {

// A session that lived so long was a good one: the next failure is the first of its row.
constexpr std::chrono::seconds settled{1};

const char* name(SessionEnd end) {
  switch (end) {
    case SessionEnd::logged_out: return "logged_out";
    case SessionEnd::link_down: return "link_down";
    case SessionEnd::bind_failed: return "bind_failed";
    case SessionEnd::connect_failed: return "connect_failed";
    case SessionEnd::connect_timeout: return "connect_timeout";
    case SessionEnd::login_timeout: return "login_timeout";
    case SessionEnd::login_rejected: return "login_rejected";
    case SessionEnd::auth_failed: return "auth_failed";
    case SessionEnd::target_unavailable: return "target_unavailable";
    case SessionEnd::redirect_failed: return "redirect_failed";
    case SessionEnd::peer_closed: return "peer_closed";
    case SessionEnd::protocol_error: return "protocol_error";
    case SessionEnd::nop_timeout: return "nop_timeout";
    case SessionEnd::task_timeout: return "task_timeout";
    case SessionEnd::asked_to_leave: return "asked_to_leave";
    case SessionEnd::aborted: return "aborted";
  }
  return "unknown";
}

void add(SessionCounters& sum, const SessionCounters& more) {
  sum.tx_bytes += more.tx_bytes;
  sum.rx_bytes += more.rx_bytes;
  sum.commands += more.commands;
  sum.responses += more.responses;
  sum.nop_out += more.nop_out;
  sum.nop_in += more.nop_in;
  sum.task_management += more.task_management;
  sum.timeouts += more.timeouts;
  sum.system_calls += more.system_calls;
}

std::uint32_t next_random(std::uint32_t& state) {  // xorshift32: jitter, not secrets
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

}  // namespace

// Logs in, which alone reinstates, or resets a logical unit as well; tells the result once; logs out; ends.
class Nexus::Helper final : private SessionListener {
 public:
  Helper(Nexus& owner, SessionConfig config, std::optional<scsi::Lun> reset, std::uint16_t portal_group, FenceDone done)
      : owner_(owner), reset_(reset), portal_group_(portal_group), done_(std::move(done)),
        alarm_(owner.shard_.clock().make_alarm([this] { give_up("no result in time"); })),
        session_(owner.factory_(owner.shard_, std::move(config), *this)) {}

  void start(TimePoint deadline) {
    alarm_->set(deadline);
    session_->start();
  }
  void give_up(const std::string& why) {
    tell(false);
    if (!ended_) session_->abort(SessionEnd::aborted, why);
  }
  [[nodiscard]] std::unique_ptr<Session> take_session() { return std::move(session_); }

 private:
  void on_session_up(Session& session) override {
    if (!reset_) {
      // Reinstatement reaches only within one portal group (RFC 7143, 6.3.5 and 4.4.3).
      tell(portal_group_ == 0 || session.info().portal_group == portal_group_);
      session.log_out();
      return;
    }
    session.reset_lun(*reset_, [this](bool ok) {
      tell(ok);
      if (!ended_) session_->log_out();
    });
  }
  void on_session_end(Session&, const SessionFailure&) override {
    ended_ = true;
    tell(false);
    owner_.helper_ended(*this);
  }
  void on_session_room(Session&) override {}
  void on_session_event(Session&, const scsi::Sense&) override {}

  void tell(bool fenced) {
    if (!done_) return;
    alarm_->cancel();
    std::exchange(done_, nullptr)(fenced);
  }

  Nexus& owner_;
  std::optional<scsi::Lun> reset_;
  std::uint16_t portal_group_;
  FenceDone done_;
  bool ended_ = false;
  std::unique_ptr<Alarm> alarm_;
  std::unique_ptr<Session> session_;
};

Nexus::Nexus(unsigned id, Shard& shard, SessionConfig config, ReconnectPolicy policy, SessionFactory factory)
    : id_(id), shard_(shard), factory_(std::move(factory)), config_(std::move(config)), policy_(policy),
      alarm_(shard.clock().make_alarm([this] { retry(); })), random_(std::random_device{}() | 1),
      self_(std::make_shared<Nexus*>(this)) {}

Nexus::~Nexus() = default;

void Nexus::log_to(const Log& log) { log_ = log.about(fmt::format("session {}", id_)); }

void Nexus::start() {
  CHECK(state_ == NexusState::idle);
  connect();
}

void Nexus::connect() {
  CHECK(!session_);
  alarm_->cancel();
  state_ = NexusState::connecting;
  session_ = factory_(shard_, config_, *this);
  session_->start();
}

void Nexus::retry() {
  if (state_ == NexusState::waiting) connect();
}

void Nexus::retry_later() {
  state_ = NexusState::waiting;
  if (policy_.attempts_max != 0 && attempt_ > policy_.attempts_max) {
    if (log_) log_->error("gave up attempts={}", attempt_);
    return;  // until the link comes back
  }
  // Without a link the event is what counts; the slow try is for the event that was missed.
  const auto pause = link_usable_ ? policy_.pause(attempt_, next_random(random_)) : policy_.longest;
  alarm_->set(shard_.clock().now() + pause);
}

void Nexus::on_first_attempt(std::function<void(const std::optional<SessionFailure>&)> done) {
  if (first_attempt_over_) {
    shard_.post([done = std::move(done), outcome = first_outcome_] { done(outcome); });
  } else {
    first_attempt_.push_back(std::move(done));
  }
}

void Nexus::tell_first_attempt(const std::optional<SessionFailure>& outcome) {
  if (std::exchange(first_attempt_over_, true)) return;
  first_outcome_ = outcome;
  for (const auto& done : std::exchange(first_attempt_, {})) done(outcome);
}

void Nexus::stop(std::function<void()> done) {
  if (state_ == NexusState::stopped) {
    shard_.post(std::move(done));
    return;
  }
  stop_waiters_.push_back(std::move(done));
  if (state_ == NexusState::stopping) return;
  const bool was_up = up();
  state_ = NexusState::stopping;
  alarm_->cancel();
  for (const auto& helper : helpers_) helper->give_up("stopping");
  if (!session_) {
    finish_stop();
  } else if (was_up) {
    session_->log_out();
  } else {
    session_->abort(SessionEnd::logged_out, "stopped before it was logged in");
  }
}

// From the loop, once nothing of ours runs; whoever waits may destroy this nexus.
void Nexus::finish_stop() {
  if (state_ != NexusState::stopping || session_ || !helpers_.empty() || std::exchange(stop_posted_, true)) return;
  shard_.post([this] {
    state_ = NexusState::stopped;
    if (log_) log_->notice("stopped");
    for (const auto& fenced : std::exchange(reinstated_waiters_, {})) fenced(false);
    const auto waiters = std::exchange(stop_waiters_, {});
    for (const auto& done : waiters) done();
  });
}

void Nexus::link_changed(bool usable) {
  if (link_usable_ == usable) return;
  link_usable_ = usable;
  if (state_ == NexusState::stopping || state_ == NexusState::stopped || state_ == NexusState::idle) return;
  if (!usable) {
    if (session_) {
      const std::string& nic = config_.binding.net_ifacename;
      session_->abort(SessionEnd::link_down, nic.empty() ? "the link is down" : fmt::format("{} is down", nic));
    }
    return;
  }
  attempt_ = 0;
  retry();
}

void Nexus::reconfigure(SessionConfig config, ReconnectPolicy policy) {
  config.isid = config_.isid;
  config_ = std::move(config);
  policy_ = policy;
}

const SessionInfo* Nexus::info() const { return up() ? &session_->info() : nullptr; }

SessionCounters Nexus::counters() const {
  SessionCounters sum = past_;
  if (session_) add(sum, session_->counters());
  return sum;
}

// ---- ScsiPort

bool Nexus::up() const { return state_ == NexusState::logged_in && session_ && session_->logged_in(); }
std::uint32_t Nexus::room() const { return state_ == NexusState::logged_in && session_ ? session_->room() : 0; }

bool Nexus::submit(ScsiTask& task) noexcept {
  return state_ == NexusState::logged_in && session_ && session_->submit(task);
}

void Nexus::abort_session(SessionEnd why, const std::string& text) {
  if (session_) session_->abort(why, text);
}

void Nexus::add_observer(ScsiPortObserver& observer) { observers_.push_back(&observer); }

void Nexus::remove_observer(ScsiPortObserver& observer) {
  if (telling_ > 0) {
    std::replace(observers_.begin(), observers_.end(), &observer, static_cast<ScsiPortObserver*>(nullptr));
  } else {
    std::erase(observers_, &observer);
  }
}

// Observers may come and go meanwhile; those that come are not told of this.
template <typename Function>
void Nexus::tell_observers(Function tell) {
  ++telling_;
  const std::size_t count = observers_.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (observers_[i] != nullptr) tell(*observers_[i]);
  }
  if (--telling_ == 0) std::erase(observers_, nullptr);
}

// ---- SessionListener

void Nexus::on_session_up(Session& session) {
  if (state_ != NexusState::connecting) return;
  state_ = NexusState::logged_in;
  up_since_ = shard_.clock().now();
  ++generation_;
  portal_group_ = session.info().portal_group;
  last_failure_.reset();
  announced_up_ = true;
  if (log_) {
    log_->notice("logged in target={} portal={}:{},{} iface={} attempts={}", config_.target_name, config_.address, config_.port,
                 portal_group_, config_.binding.iface_name, attempt_ + 1);
  }
  tell_first_attempt(std::nullopt);
  tell_observers([](ScsiPortObserver& observer) { observer.on_port_up(); });
}

void Nexus::on_session_end(Session& session, const SessionFailure& failure) {
  CHECK(&session == session_.get());
  add(past_, session.counters());
  shard_.post([dead = std::move(session_)] {});  // not from within its own callback
  session_.reset();
  const bool was_up = std::exchange(announced_up_, false);
  if (was_up && shard_.clock().now() - up_since_ >= settled) attempt_ = 0;
  ++attempt_;
  last_failure_ = failure;
  if (state_ == NexusState::stopping) {
    if (log_) log_->notice("logged out reason={}", name(failure.end));
  } else {
    // The row of failures is told once at notice; what follows is for the curious.
    if (log_ && (was_up || attempt_ == 1)) {
      log_->warning("down reason={} text={}", name(failure.end), quoted(failure.text));
    } else if (log_) {
      log_->info("not logged in reason={} attempts={} text={}", name(failure.end), attempt_, quoted(failure.text));
    }
    retry_later();
  }
  if (was_up) tell_observers([&](ScsiPortObserver& observer) { observer.on_port_down(failure); });
  tell_first_attempt(failure);
  finish_stop();
}

void Nexus::on_session_room(Session&) {
  tell_observers([](ScsiPortObserver& observer) { observer.on_port_room(); });
}

void Nexus::on_session_event(Session&, const scsi::Sense& sense) {
  tell_observers([&](ScsiPortObserver& observer) { observer.on_port_event(sense); });
}

// ---- fencing

void Nexus::fence_by_reinstatement(ScsiPort& lost, TimePoint deadline, FenceDone done) {
  auto* const other = dynamic_cast<Nexus*>(&lost);
  const bool possible = other != nullptr && other != this && other->config_.target_name == config_.target_name &&
                        state_ == NexusState::logged_in;
  if (!possible) {
    shard_.post([done = std::move(done)] { done(false); });
    return;
  }
  if (other->up()) {  // it has logged in again by itself, and another login with its ISID would end that session
    shard_.post([done = std::move(done)] { done(true); });
    return;
  }
  other->reinstated_waiters_.push_back(std::move(done));
  if (std::exchange(other->being_reinstated_, true)) return;  // two at once would only end each other
  SessionConfig config = other->config_;  // its names, secrets and ISID ...
  config.address = config_.address;       // ... over our portal and NIC
  config.port = config_.port;
  config.binding = config_.binding;
  fence(std::move(config), std::nullopt, other, deadline, {});
}

void Nexus::fence_by_lu_reset(scsi::Lun lun, TimePoint deadline, FenceDone done) {
  if (state_ != NexusState::logged_in) {
    shard_.post([done = std::move(done)] { done(false); });
    return;
  }
  SessionConfig config = config_;
  // An initiator port of its own: with our ISID it would end our session, with a fixed one two of them each other.
  config.isid[3] = static_cast<std::uint8_t>(config.isid[3] ^ ++resets_);
  config.isid[4] = static_cast<std::uint8_t>(config.isid[4] ^ 0x5a);
  config.isid[5] = static_cast<std::uint8_t>(config.isid[5] ^ 0x80);
  fence(std::move(config), lun, nullptr, deadline, std::move(done));
}

void Nexus::fence(SessionConfig config, std::optional<scsi::Lun> reset, Nexus* lost, TimePoint deadline, FenceDone done) {
  std::uint16_t portal_group = 0;
  if (lost != nullptr) {
    portal_group = lost->portal_group_;
    const std::weak_ptr<Nexus*> whom = lost->self_;
    done = [whom](bool fenced) {
      if (const auto there = whom.lock()) (*there)->reinstated(fenced);
    };
  }
  helpers_.push_back(std::make_unique<Helper>(*this, std::move(config), reset, portal_group, std::move(done)));
  helpers_.back()->start(deadline);
}

// Somebody logged in with our ISID, or could not: our last session is gone at the target, as if we had logged in.
void Nexus::reinstated(bool fenced) {
  being_reinstated_ = false;
  if (!fenced && up()) fenced = true;  // we were quicker
  if (fenced && !up() && generation_ > 0) ++generation_;
  if (log_) log_->notice("{} by another path", fenced ? "fenced" : "could not be fenced");
  for (const auto& done : std::exchange(reinstated_waiters_, {})) done(fenced);
}

void Nexus::helper_ended(Helper& helper) {
  const auto at = std::find_if(helpers_.begin(), helpers_.end(), [&](const auto& one) { return one.get() == &helper; });
  CHECK(at != helpers_.end());
  shard_.post([dead = std::move(*at)] {});
  helpers_.erase(at);
  finish_stop();
}

}  // namespace mpath
