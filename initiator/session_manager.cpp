#include "initiator/session_manager.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/boot_id.hpp"
#include "base/control_server.hpp"
#include "base/event.hpp"
#include "base/latest_file.hpp"
#include "base/offload.hpp"
#include "base/sleep.hpp"
#include "base/stable_hash.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "base/within.hpp"
#include "initiator/managed_session.hpp"
#include "initiator/session_preparation.hpp"
#include "initiator/wanted_sessions.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;
using control::HandlerError;
using control::HandlerResult;
using nlohmann::json;
using SessionPtr = std::shared_ptr<ManagedSession>;

// Above what a login's or logout's own limits can add up to: for what should not happen.
constexpr auto outcome_limit = std::chrono::seconds(90);
constexpr auto devices_limit = std::chrono::seconds(2);
constexpr auto return_look = std::chrono::milliseconds(20);
constexpr auto return_time = std::chrono::seconds(1);  // that a login may take before another session ends the one of before
constexpr auto rescan_limit = std::chrono::seconds(30);

struct OneResult {
  db::NodeKey node;
  unsigned sid = 0;
  ExitCode code = ExitCode::success;
  std::string text;
};

json to_json(const OneResult& result) {
  return {{"node", mpath::to_json(result.node)}, {"sid", result.sid}, {"code", static_cast<int>(result.code)}, {"text", result.text}};
}

// The answers to a request about many objects, gathered by as many tasks.
struct Batch {
  Batch(const boost::asio::any_io_executor& executor, std::size_t size) : results(size), open(size), done(executor) {
    if (size == 0) done.set();
  }
  void finish(std::size_t index, std::vector<OneResult> with) {
    results[index] = std::move(with);
    if (--open == 0) done.set();
  }
  [[nodiscard]] json answer() const {
    json all = json::array();
    for (const auto& some : results) {
      for (const auto& one : some) all.push_back(to_json(one));
    }
    return {{"results", std::move(all)}};
  }

  std::vector<std::vector<OneResult>> results;
  std::size_t open;
  Event done;
};

struct LoginRequest {
  bool wait = true;
  bool additional = false;
};

std::vector<db::NodeKey> keys_of(const json& nodes) {
  std::vector<db::NodeKey> keys;
  for (const json& node : nodes) {
    auto key = node_key_from_json(node);
    // The server answers a json exception with "invalid argument".
    if (!key) throw json::other_error::create(501, "a node has target, address, port, tpgt and iface", &node);
    keys.push_back(std::move(*key));
  }
  return keys;
}

std::string described(const db::NodeKey& key) {
  return fmt::format("target={} portal={},{} iface={}", key.target_name, key.address, key.port, key.iface);
}

std::unexpected<HandlerError> refused(ExitCode code, std::string text) { return std::unexpected(HandlerError{code, std::move(text)}); }

}  // namespace

struct SessionManager::Impl {
  explicit Impl(Setup given)
      : setup(std::move(given)),
        clock(setup.control),
        tasks(setup.control.get_executor()),
        around{.control = setup.control,
               .blocking = setup.blocking,
               .clock = clock,
               .factory = setup.factory,
               .listener = setup.listener,
               .sources = {.open_store = setup.open_store, .layout = setup.layout, .instance = setup.instance},
               .preparing = setup.preparing,
               .log = setup.log,
               .spawn = [this](awaitable<void> task) { tasks.spawn(std::move(task)); }},
        file(setup.control.get_executor(), setup.blocking, wanted_file(), [this](error_code error) {
          if (!setup.log) return;
          setup.log->error("sessions cannot be remembered over a restart: {}: {}", wanted_file().string(), error.message());
        }) {}

  // --- the set of sessions ---
  [[nodiscard]] SessionPtr by_sid(unsigned sid) const {
    const auto at = sessions.find(sid);
    return at == sessions.end() ? nullptr : at->second;
  }
  [[nodiscard]] std::vector<SessionPtr> by_key(const db::NodeKey& key) const;
  [[nodiscard]] std::vector<SessionPtr> selected(const json& args) const;
  [[nodiscard]] Shard& shard_for(const std::string& target) const;
  [[nodiscard]] SessionPtr add(const db::NodeKey& key, unsigned index, bool patient);
  [[nodiscard]] awaitable<void> live(SessionPtr session);
  [[nodiscard]] std::filesystem::path wanted_file() const { return setup.layout.state() / "sessions.json"; }

  // --- verbs ---
  [[nodiscard]] awaitable<HandlerResult> on_login(json args);
  [[nodiscard]] awaitable<HandlerResult> on_logout(json args);
  [[nodiscard]] awaitable<HandlerResult> on_list(json args);
  [[nodiscard]] awaitable<HandlerResult> on_rescan(json args);
  [[nodiscard]] awaitable<HandlerResult> on_stats(json args);

  [[nodiscard]] awaitable<void> log_in(std::shared_ptr<Batch> batch, std::size_t index, db::NodeKey key, LoginRequest request);
  [[nodiscard]] awaitable<std::vector<OneResult>> log_in_node(db::NodeKey key, LoginRequest request);
  [[nodiscard]] awaitable<OneResult> outcome_of(SessionPtr session, bool keep_trying);
  [[nodiscard]] awaitable<void> log_out(std::shared_ptr<Batch> batch, std::size_t index, SessionPtr session);
  [[nodiscard]] awaitable<std::vector<AttachedDevice>> devices_of(unsigned sid);
  [[nodiscard]] awaitable<std::string> rescan(unsigned sid);

  // --- start and stop ---
  struct Wanted {
    std::vector<std::pair<db::NodeKey, unsigned>> nodes;  // with how many sessions
    std::set<db::NodeKey> by_hand;
    std::vector<std::string> complaints;
  };
  [[nodiscard]] Wanted read_wanted() const;  // blocks
  [[nodiscard]] awaitable<void> start(std::function<void()> started);
  [[nodiscard]] std::vector<SessionPtr> not_returned() const;
  [[nodiscard]] awaitable<void> end_forerunners(TimePoint deadline);
  [[nodiscard]] awaitable<void> stop(std::chrono::milliseconds limit);

  Setup setup;
  SystemClock clock;
  TaskGroup tasks;
  ManagedSession::Surroundings around;
  std::map<unsigned, SessionPtr> sessions;  // by SID
  std::vector<std::weak_ptr<ManagedSession>> returning;  // those that start() set going
  TimePoint returning_since;
  std::set<unsigned> ended_for;  // SIDs of them, whose forerunners were ended by others
  unsigned last_sid = 0;
  bool stopping = false;

  std::set<db::NodeKey> wanted;  // logged in by hand
  const std::string boot = read_boot_id();
  LatestFile file;  // of them
};

// --- the set of sessions ---------------------------------------------------------------------------------------------

std::vector<SessionPtr> SessionManager::Impl::by_key(const db::NodeKey& key) const {
  std::vector<SessionPtr> some;
  for (const auto& [sid, session] : sessions) {
    if (session->key() == key) some.push_back(session);
  }
  return some;
}

// What "sid", "sids" or "nodes" name; without any of them, all.
std::vector<SessionPtr> SessionManager::Impl::selected(const json& args) const {
  std::vector<SessionPtr> some;
  if (args.contains("nodes")) {
    for (const auto& key : keys_of(args.at("nodes"))) {
      for (auto& session : by_key(key)) some.push_back(std::move(session));
    }
    return some;
  }
  if (!args.contains("sid") && !args.contains("sids")) {
    for (const auto& [sid, session] : sessions) some.push_back(session);
    return some;
  }
  const auto sids = args.contains("sid") ? std::vector{args.at("sid").get<unsigned>()} : args.at("sids").get<std::vector<unsigned>>();
  for (const unsigned sid : sids) {
    if (auto session = by_sid(sid)) some.push_back(std::move(session));
  }
  return some;
}

// All paths to a target are on one shard, and so are its maps.
Shard& SessionManager::Impl::shard_for(const std::string& target) const { return *setup.shards[stable_hash(target) % setup.shards.size()]; }

SessionPtr SessionManager::Impl::add(const db::NodeKey& key, unsigned index, bool patient) {
  ManagedSession::Identity identity{.sid = ++last_sid, .key = key, .index = index, .patient = patient};
  auto session = std::make_shared<ManagedSession>(around, shard_for(key.target_name), std::move(identity));
  sessions.emplace(session->sid(), session);
  tasks.spawn(live(session));
  return session;
}

awaitable<void> SessionManager::Impl::live(SessionPtr session) {
  co_await session->run();
  sessions.erase(session->sid());
}

// --- login -----------------------------------------------------------------------------------------------------------

awaitable<HandlerResult> SessionManager::Impl::on_login(json args) {
  if (stopping) co_return refused(ExitCode::try_again, "mpathd is stopping");
  const auto keys = keys_of(args.at("nodes"));
  const LoginRequest request{.wait = args.value("wait", true), .additional = args.value("additional", false)};
  const auto batch = std::make_shared<Batch>(setup.control.get_executor(), keys.size());
  for (std::size_t index = 0; index < keys.size(); ++index) tasks.spawn(log_in(batch, index, keys[index], request));
  const bool cancelled = co_await batch->done.wait();
  if (cancelled) co_return refused(ExitCode::try_again, "mpathd is stopping");
  co_return batch->answer();
}

awaitable<void> SessionManager::Impl::log_in(std::shared_ptr<Batch> batch, std::size_t index, db::NodeKey key, LoginRequest request) {
  auto results = co_await log_in_node(key, request);
  batch->finish(index, std::move(results));
}

awaitable<std::vector<OneResult>> SessionManager::Impl::log_in_node(db::NodeKey key, LoginRequest request) {
  std::vector<OneResult> results;
  const auto answer = [&](ExitCode code, std::string text, unsigned sid = 0) { results.push_back({key, sid, code, std::move(text)}); };

  auto read = [this, key] { return read_node(around.sources, key); };
  const auto record = co_await offload(setup.blocking, read);
  if (!record) {
    answer(record.error().code, record.error().text);
    co_return results;
  }
  const unsigned count = sessions_wanted(*record);

  // A session of the record that is being logged out first has to be gone: its successor has the same ISID. One that is
  // tried in the background and never came up makes way for this attempt, which goes on in its stead.
  bool keep_trying = !request.wait;
  for (auto& session : by_key(key)) {
    if (!session->leaving() && request.wait && !request.additional) {
      co_await session->settled().wait();
      if (!session->established()) {
        keep_trying = keep_trying || session->patient();
        session->leave();
      }
    }
    if (session->leaving()) co_await session->gone().wait();
  }
  std::set<unsigned> taken;
  for (const auto& session : by_key(key)) taken.insert(session->index());
  const std::size_t missing = request.additional ? 1 : count > taken.size() ? count - taken.size() : 0;
  if (missing == 0) {
    answer(ExitCode::session_exists,
           fmt::format("{}: {} session{} requested, but {} already present.", key.iface, count, count == 1 ? "" : "s", taken.size()));
    co_return results;
  }
  if (stopping) {
    answer(ExitCode::try_again, "mpathd is stopping");
    co_return results;
  }

  std::vector<SessionPtr> made;
  for (unsigned index = 0; made.size() < missing; ++index) {
    if (!taken.contains(index)) made.push_back(add(key, index, keep_trying));
  }
  bool any = !request.wait;
  for (const auto& session : made) {
    if (!request.wait) {
      answer(ExitCode::success, "", session->sid());
      continue;
    }
    results.push_back(co_await outcome_of(session, keep_trying));
    any = any || results.back().code == ExitCode::success;
  }
  if (any && wanted.insert(key).second) co_await file.save(format_wanted(wanted, boot));
  co_return results;
}

// The first attempt's outcome. One that failed is ended, unless somebody had asked for it before.
awaitable<OneResult> SessionManager::Impl::outcome_of(SessionPtr session, bool keep_trying) {
  OneResult result{.node = session->key(), .sid = session->sid()};
  const auto waited = co_await within(clock, Duration(outcome_limit), session->settled().wait());
  if (!waited || *waited) {
    result.code = ExitCode::connect_timeout;
    result.text = "no outcome in time";
  } else if (const auto& failure = session->failure()) {
    result.code = failure->code;
    result.text = failure->text;
  }
  if (result.code == ExitCode::success) {
    session->be_patient();
    if (setup.log) setup.log->notice("login sid={} {}", session->sid(), described(session->key()));
    co_return result;
  }
  if (setup.log) setup.log->warning("login failed {} reason={}", described(session->key()), mpath::quoted(result.text));
  if (!keep_trying) {
    session->leave();
    co_await session->gone().wait();
  }
  co_return result;
}

// --- logout ----------------------------------------------------------------------------------------------------------

awaitable<HandlerResult> SessionManager::Impl::on_logout(json args) {
  if (!args.contains("sids") && !args.contains("nodes")) co_return refused(ExitCode::invalid_argument, "sids or nodes are needed");
  const auto some = selected(args);
  if (some.empty()) co_return refused(ExitCode::session_not_found, "no such session");
  const auto batch = std::make_shared<Batch>(setup.control.get_executor(), some.size());
  bool changed = false;
  for (const auto& session : some) {
    session->leave();
    const auto same = by_key(session->key());
    const bool last = std::ranges::all_of(same, [](const SessionPtr& other) { return other->leaving(); });
    if (last) changed = wanted.erase(session->key()) > 0 || changed;
  }
  if (changed) co_await file.save(format_wanted(wanted, boot));
  for (std::size_t index = 0; index < some.size(); ++index) tasks.spawn(log_out(batch, index, some[index]));
  if (!args.value("wait", true)) co_return json{{"results", json::array()}};
  const bool cancelled = co_await batch->done.wait();
  if (cancelled) co_return refused(ExitCode::try_again, "mpathd is stopping");
  co_return batch->answer();
}

awaitable<void> SessionManager::Impl::log_out(std::shared_ptr<Batch> batch, std::size_t index, SessionPtr session) {
  OneResult result{.node = session->key(), .sid = session->sid()};
  const auto waited = co_await within(clock, Duration(outcome_limit), session->gone().wait());
  if (!waited || *waited) {
    result.code = ExitCode::logout_failure;
    result.text = "not gone in time; it goes on in the background";
  } else if (setup.log) {
    setup.log->notice("logout sid={} {}", session->sid(), described(session->key()));
  }
  std::vector<OneResult> results;
  results.push_back(std::move(result));
  batch->finish(index, std::move(results));
}

// --- show ------------------------------------------------------------------------------------------------------------

awaitable<std::vector<AttachedDevice>> SessionManager::Impl::devices_of(unsigned sid) {
  if (!setup.attached) co_return std::vector<AttachedDevice>();
  struct Answer {
    explicit Answer(const boost::asio::any_io_executor& executor) : come(executor) {}
    std::vector<AttachedDevice> devices;
    Event come;
  };
  const auto answer = std::make_shared<Answer>(setup.control.get_executor());
  setup.attached(sid, [answer](std::vector<AttachedDevice> devices) {
    answer->devices = std::move(devices);
    answer->come.set();
  });
  static_cast<void>(co_await within(clock, Duration(devices_limit), answer->come.wait()));
  co_return answer->devices;
}

awaitable<HandlerResult> SessionManager::Impl::on_list(json args) {
  json all = json::array();
  for (const auto& session : selected(args)) {
    SessionReport report = co_await session->report();
    report.devices = co_await devices_of(session->sid());
    all.push_back(mpath::to_json(report));
  }
  co_return json{{"sessions", std::move(all)}};
}

awaitable<HandlerResult> SessionManager::Impl::on_stats(json args) {
  json all = json::array();
  for (const auto& session : selected(args)) {
    const SessionReport report = co_await session->report();
    all.push_back({{"sid", report.sid}, {"node", mpath::to_json(report.node)}, {"logins", report.logins}, {"counters", mpath::to_json(report.counters)}});
  }
  co_return json{{"sessions", std::move(all)}};
}

awaitable<std::string> SessionManager::Impl::rescan(unsigned sid) {
  struct Answer {
    explicit Answer(const boost::asio::any_io_executor& executor) : come(executor) {}
    std::string error = "no answer in time";
    Event come;
  };
  const auto answer = std::make_shared<Answer>(setup.control.get_executor());
  setup.rescan(sid, [answer](std::string error) {
    answer->error = std::move(error);
    answer->come.set();
  });
  static_cast<void>(co_await within(clock, Duration(rescan_limit), answer->come.wait()));
  co_return answer->error;
}

awaitable<HandlerResult> SessionManager::Impl::on_rescan(json args) {
  if (!setup.rescan) co_return refused(ExitCode::not_supported, "rescan is not supported");
  const auto some = selected(args);
  if (some.empty()) co_return refused(ExitCode::no_objects_found, "no such session");
  json all = json::array();
  for (const auto& session : some) {
    OneResult result{.node = session->key(), .sid = session->sid()};
    result.text = co_await rescan(session->sid());
    if (!result.text.empty()) result.code = ExitCode::session_not_connected;
    all.push_back(to_json(result));
  }
  co_return json{{"results", std::move(all)}};
}

// --- start and stop --------------------------------------------------------------------------------------------------

SessionManager::Impl::Wanted SessionManager::Impl::read_wanted() const {
  Wanted wanted_now;
  if (auto by_hand = load_wanted(wanted_file(), boot)) {
    wanted_now.by_hand = std::move(*by_hand);
  } else {
    wanted_now.complaints.push_back(fmt::format("{}: {}; only automatic nodes are logged in", wanted_file().string(), by_hand.error().message()));
  }
  const auto store = setup.open_store();
  if (!store) {
    wanted_now.complaints.push_back(fmt::format("no node is logged in: the database cannot be opened: {}", store.error().message()));
    return wanted_now;
  }
  const auto records = (*store)->nodes({});
  if (!records) {
    wanted_now.complaints.push_back(fmt::format("no node is logged in: the records cannot be read: {}", records.error().message()));
    return wanted_now;
  }
  std::set<db::NodeKey> known;
  for (const auto& record : *records) {
    known.insert(record.key);
    const bool at_start = has_startup(record, "automatic") || has_startup(record, "onboot");
    if (at_start || wanted_now.by_hand.contains(record.key)) wanted_now.nodes.emplace_back(record.key, sessions_wanted(record));
  }
  std::erase_if(wanted_now.by_hand, [&](const db::NodeKey& key) { return !known.contains(key); });  // removed meanwhile
  return wanted_now;
}

awaitable<void> SessionManager::Impl::start(std::function<void()> started) {
  auto read = [this] { return read_wanted(); };
  const Wanted found = co_await offload(setup.blocking, read);
  if (setup.log) {
    for (const auto& complaint : found.complaints) setup.log->error("{}", complaint);
  }
  wanted.insert(found.by_hand.begin(), found.by_hand.end());
  returning_since = clock.now();
  for (const auto& [key, count] : found.nodes) {
    std::set<unsigned> taken;  // a login by hand may have been quicker
    for (const auto& session : by_key(key)) taken.insert(session->index());
    for (unsigned index = 0; index < count && !stopping; ++index) {
      if (!taken.contains(index)) returning.push_back(add(key, index, true));
    }
  }
  if (started) started();
}

// Of whose forerunners the targets may still have something.
std::vector<SessionPtr> SessionManager::Impl::not_returned() const {
  std::vector<SessionPtr> some;
  for (const auto& each : returning) {
    const SessionPtr session = each.lock();
    if (session != nullptr && !session->established() && !session->leaving() && !ended_for.contains(session->sid())) some.push_back(session);
  }
  return some;
}

// From sessions of the same portal group, for those that cannot come there by themselves, or have had time enough for it.
awaitable<void> SessionManager::Impl::end_forerunners(TimePoint deadline) {
  const bool late = clock.now() >= returning_since + return_time;
  for (const SessionPtr& lost : not_returned()) {
    if (lost->key().tpgt < 0 || (!late && !lost->failure())) continue;
    const auto helps = [&lost](const auto& item) {
      const db::NodeKey& key = item.second->key();
      return key.target_name == lost->key().target_name && key.tpgt == lost->key().tpgt && item.second->established() && !item.second->leaving();
    };
    const auto helper = std::ranges::find_if(sessions, helps);
    if (helper == sessions.end()) continue;
    const SessionPtr by = helper->second;
    if (co_await by->end_former_of(lost, std::min(deadline, clock.now() + return_time))) ended_for.insert(lost->sid());
  }
}

awaitable<void> SessionManager::Impl::stop(std::chrono::milliseconds limit) {
  stopping = true;
  std::vector<SessionPtr> all;
  for (const auto& [sid, session] : sessions) {
    session->leave();
    all.push_back(session);
  }
  const TimePoint deadline = clock.now() + limit;
  for (const auto& session : all) {
    const auto waited = co_await within(clock, deadline, session->gone().wait());
    if (!waited && setup.log) setup.log->error("session {} was not logged out in time target={}", session->sid(), session->key().target_name);
  }
  co_await tasks.close();
  sessions.clear();
}

// --- the outside -----------------------------------------------------------------------------------------------------

SessionManager::SessionManager(Setup setup) : impl_(std::make_unique<Impl>(std::move(setup))) {}
SessionManager::~SessionManager() = default;

void SessionManager::register_verbs(control::Server& server) {
  Impl* impl = impl_.get();
  server.add("session.login", [impl](json args) { return impl->on_login(std::move(args)); });
  server.add("session.logout", [impl](json args) { return impl->on_logout(std::move(args)); });
  server.add("session.list", [impl](json args) { return impl->on_list(std::move(args)); });
  server.add("session.rescan", [impl](json args) { return impl->on_rescan(std::move(args)); });
  server.add("session.stats", [impl](json args) { return impl->on_stats(std::move(args)); });
}

void SessionManager::start(std::function<void()> started) { impl_->tasks.spawn(impl_->start(std::move(started))); }

awaitable<bool> SessionManager::all_returned(TimePoint deadline) {
  for (;;) {
    co_await impl_->end_forerunners(deadline);
    if (impl_->not_returned().empty()) co_return true;
    const TimePoint now = impl_->clock.now();
    if (now >= deadline || impl_->stopping) co_return false;
    if (co_await sleep_until(impl_->clock, std::min(deadline, now + return_look))) co_return false;
  }
}

std::vector<db::NodeKey> SessionManager::keys() const {
  std::set<db::NodeKey> keys;
  for (const auto& [sid, session] : impl_->sessions) keys.insert(session->key());
  return {keys.begin(), keys.end()};
}

void SessionManager::link_changed(const std::string& net_ifacename, bool usable) {
  for (const auto& [sid, session] : impl_->sessions) session->link_changed(net_ifacename, usable);
}

void SessionManager::stop(std::chrono::milliseconds limit, std::function<void()> done) {
  boost::asio::co_spawn(impl_->setup.control, impl_->stop(limit), [done = std::move(done)](const std::exception_ptr& exception) {
    if (exception) std::rethrow_exception(exception);
    if (done) done();
  });
}

}  // namespace mpath
