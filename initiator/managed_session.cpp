#include "initiator/managed_session.hpp"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "base/offload.hpp"
#include "base/within.hpp"
#include "initiator/session_errors.hpp"

namespace mpath {

using boost::asio::awaitable;

namespace {

SessionPhase phase_of(NexusState state) {
  switch (state) {
    case NexusState::idle:
    case NexusState::connecting: return SessionPhase::connecting;
    case NexusState::logged_in: return SessionPhase::logged_in;
    case NexusState::waiting: return SessionPhase::waiting;
    case NexusState::stopping:
    case NexusState::stopped: return SessionPhase::stopping;
  }
  return SessionPhase::waiting;
}

LoginFailure login_failure(const SessionFailure& failure) { return {exit_code_of(failure.end), failure.text}; }

}  // namespace

ManagedSession::ManagedSession(const Surroundings& around, Shard& shard, Identity identity)
    : around_(around),
      shard_(shard),
      identity_(std::move(identity)),
      settled_(around.control.get_executor()),
      leaving_(around.control.get_executor()),
      nudged_(around.control.get_executor()),
      stopped_(around.control.get_executor()),
      gone_(around.control.get_executor()) {
  if (around.log) log_ = around.log->about(fmt::format("session {}", identity_.sid));
}

ManagedSession::~ManagedSession() {
  // A nexus whose end was not waited for belongs to a shard that has stopped by now: nothing may run in it any more.
  if (nexus_) static_cast<void>(nexus_.release());
}

awaitable<void> ManagedSession::run() {
  const auto self = shared_from_this();
  if (co_await prepare()) {
    co_await start_nexus();
    const bool cancelled = co_await leaving_.wait();
    if (!cancelled) co_await end_nexus();
  }
  settle(LoginFailure{ExitCode::session_not_found, "logged out meanwhile"});
  gone_.set();
}

void ManagedSession::leave() {
  leaving_.set();
  nudged_.set();
}

awaitable<bool> ManagedSession::prepare() {
  for (unsigned attempt = 1;; ++attempt) {
    auto work = [this] { return prepare_session(around_.sources, identity_.key, identity_.index); };
    auto prepared = co_await offload(around_.blocking, work);
    if (leaving_.is_set()) co_return false;
    if (prepared) {
      prepared_ = std::move(*prepared);
      co_return true;
    }
    if (log_ && attempt == 1) {
      log_->warning("waits target={} iface={} reason={}", identity_.key.target_name, identity_.key.iface, mpath::quoted(prepared.error().text));
    }
    failure_ = prepared.error();
    settle(prepared.error());
    if (!identity_.patient) co_return false;
    nudged_.clear();
    const auto pause = around_.preparing.pause(attempt, identity_.sid * 0x9e3779b9U);
    const auto woken = co_await within(around_.clock, pause, nudged_.wait());
    if (leaving_.is_set() || (woken && *woken)) co_return false;
  }
}

awaitable<void> ManagedSession::start_nexus() {
  const auto self = shared_from_this();
  auto start = [self, config = prepared_->config] {
    self->nexus_ = std::make_unique<Nexus>(self->identity_.sid, self->shard_, config.session, config.reconnect, self->around_.factory);
    if (self->around_.log) self->nexus_->log_to(*self->around_.log);
    self->nexus_->add_observer(*self);
    self->around_.listener.on_nexus_created(*self->nexus_, self->shard_);
    self->nexus_->on_first_attempt([self](const std::optional<SessionFailure>& failure) {
      boost::asio::post(self->around_.control, [self, failure] {
        self->settle(failure ? std::optional(login_failure(*failure)) : std::nullopt);
      });
    });
    self->nexus_->start();
  };
  co_await run_on(shard_, start);
}

awaitable<void> ManagedSession::end_nexus() {
  const auto self = shared_from_this();
  auto stop = [self] {
    self->nexus_->stop([self] { self->shard_.post([self] { self->destroy_nexus(); }); });
  };
  co_await run_on(shard_, stop);
  co_await stopped_.wait();
}

void ManagedSession::destroy_nexus() {
  if (!nexus_) return;
  nexus_->remove_observer(*this);
  around_.listener.on_nexus_stopped(*nexus_);
  nexus_.reset();
  boost::asio::post(around_.control, [self = shared_from_this()] { self->stopped_.set(); });
}

void ManagedSession::settle(std::optional<LoginFailure> failure) {
  if (settled_.is_set()) return;
  failure_ = std::move(failure);
  if (!failure_) established_ = true;
  settled_.set();
}

void ManagedSession::on_port_up() {
  boost::asio::post(around_.control, [self = shared_from_this()] {
    self->established_ = true;
    self->settle(std::nullopt);
  });
}

void ManagedSession::on_port_down(const SessionFailure&) {
  boost::asio::post(around_.control, [self = shared_from_this()] { self->spawn_refresh(); });
}

void ManagedSession::link_changed(const std::string& net_ifacename, bool usable) {
  if (!prepared_) {
    if (usable) nudged_.set();
    return;
  }
  const bool mine = prepared_->config.session.binding.net_ifacename == net_ifacename;
  if (mine) {
    shard_.post([self = shared_from_this(), usable] {
      if (self->nexus_) self->nexus_->link_changed(usable);
    });
  } else if (usable && !prepared_->iface.hwaddress.empty()) {
    spawn_refresh();  // the NIC may have come back under another name
  }
}

void ManagedSession::spawn_refresh() {
  if (refreshing_ || leaving()) return;
  refreshing_ = true;
  around_.spawn(refresh());
}

awaitable<void> ManagedSession::refresh() {
  const auto self = shared_from_this();
  auto work = [self] { return prepare_session(self->around_.sources, self->identity_.key, self->identity_.index); };
  auto prepared = co_await offload(around_.blocking, work);
  refreshing_ = false;
  if (!prepared || leaving()) co_return;
  const bool moved = prepared->config.session.binding != prepared_->config.session.binding;
  prepared_ = std::move(*prepared);
  shard_.post([self, config = prepared_->config, moved] {
    if (!self->nexus_) return;
    self->nexus_->reconfigure(config.session, config.reconnect);
    if (moved) self->nexus_->link_changed(true);
  });
}

awaitable<bool> ManagedSession::end_former_of(std::shared_ptr<ManagedSession> lost, TimePoint deadline) {
  auto end = [self = shared_from_this(), lost = std::move(lost), deadline](const auto& answer) {
    if (!self->nexus_ || !lost->nexus_) return answer(false);
    lost->nexus_->had_session_in(static_cast<std::uint16_t>(lost->key().tpgt));
    self->nexus_->fence_by_reinstatement(*lost->nexus_, deadline, answer);
  };
  co_return co_await ask_on<bool>(shard_, std::move(end));
}

ManagedSession::Look ManagedSession::look() const {
  Look look;
  if (!nexus_) return look;
  look.exists = true;
  look.state = nexus_->state();
  if (const SessionInfo* info = nexus_->info()) look.info = *info;
  look.counters = nexus_->counters();
  look.logins = nexus_->generation();
  if (nexus_->last_failure()) look.failure = nexus_->last_failure()->text;
  return look;
}

awaitable<SessionReport> ManagedSession::report() {
  const auto self = shared_from_this();
  auto ask = [self] { return self->look(); };
  const Look look = co_await run_on(shard_, ask);

  SessionReport report;
  report.sid = identity_.sid;
  report.node = identity_.key;
  report.established = established_ || look.logins > 0;
  report.phase = look.exists ? phase_of(look.state) : leaving() ? SessionPhase::stopping : SessionPhase::preparing;
  report.info = look.info;
  report.counters = look.counters;
  report.logins = look.logins;
  report.last_failure = look.failure.empty() && failure_ ? failure_->text : look.failure;
  if (prepared_) {
    const SessionConfig& session = prepared_->config.session;
    report.current_address = session.address;
    report.initiator_name = session.initiator_name;
    report.hwaddress = prepared_->iface.hwaddress;
    report.net_ifacename = prepared_->iface.net_ifacename.empty() ? session.binding.net_ifacename : prepared_->iface.net_ifacename;
    report.timeouts = prepared_->config.timeouts;
    report.chap_name = session.chap.name;
    report.chap_in_name = session.chap_in.name;
  }
  co_return report;
}

}  // namespace mpath
