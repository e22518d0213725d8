#include "target/iscsi/sessions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <set>

#include "base/check.hpp"
#include "base/event.hpp"
#include "base/run_on.hpp"
#include "base/shard.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "target/iscsi/session.hpp"

namespace mpath::target {
namespace {

using boost::asio::awaitable;

// One session as the directory knows it, from admit() until it has ended.
struct Entry {
  std::uint32_t sid = 0;
  std::uint16_t tsih = 0;
  Admission admission;  // of the first connection
  Shard* shard = nullptr;
  std::shared_ptr<Session> session;  // null until establish()
  bool unwanted = false;             // reinstated by another before it was established
  std::set<std::uint16_t> cids;      // seats taken, those not established included
  std::shared_ptr<Event> gone;

  // RFC 7143, 6.3.5: initiator port and target port.
  [[nodiscard]] bool same_nexus(const Admission& other) const {
    return !admission.discovery && !other.discovery && admission.initiator_name == other.initiator_name &&
           admission.isid == other.isid && admission.target->name == other.target->name &&
           admission.portal_group == other.portal_group;
  }
};

}  // namespace

struct Sessions::Impl : std::enable_shared_from_this<Sessions::Impl> {
  struct Place;

  Impl(boost::asio::io_context& loop, std::span<Shard* const> all, const Log& base)
      : control(loop), clock(loop), shards(all.begin(), all.end()), log(base) {}

  [[nodiscard]] std::shared_ptr<Entry> find_tsih(std::uint16_t tsih) const {
    const auto found = entries.find(tsih);
    return found == entries.end() ? nullptr : found->second;
  }
  [[nodiscard]] std::shared_ptr<Entry> find_nexus(const Admission& admission) const {
    for (const auto& [tsih, entry] : entries) {
      if (!entry->unwanted && entry->same_nexus(admission)) return entry;
    }
    return nullptr;
  }
  [[nodiscard]] std::vector<std::shared_ptr<Entry>> matching(std::string_view target) const {
    std::vector<std::shared_ptr<Entry>> result;
    for (const auto& [tsih, entry] : entries) {
      const bool wanted =
          target.empty() || (entry->admission.target != nullptr && entry->admission.target->name == target);
      if (wanted) result.push_back(entry);
    }
    return result;
  }
  [[nodiscard]] Shard& place_for(const Admission& admission);
  [[nodiscard]] std::uint16_t free_tsih();
  void watch(const TargetsView& view);
  void attention(const LogicalUnit* unit, const NexusName& name, const scsi::Sense& sense);
  void end(const std::shared_ptr<Entry>& entry, const char* why);
  void forget(std::uint16_t tsih);
  [[nodiscard]] Session::Host host_of(const std::shared_ptr<Entry>& entry);
  [[nodiscard]] awaitable<void> drop(std::shared_ptr<Entry> entry, const char* why);
  [[nodiscard]] awaitable<std::size_t> reset(std::optional<IpAddress> local, const char* why);

  boost::asio::io_context& control;
  SystemClock clock;
  std::vector<Shard*> shards;
  Log log;
  std::shared_ptr<const TargetsView> targets;
  std::map<std::uint16_t, std::shared_ptr<Entry>> entries;
  std::map<std::string, std::size_t> spread;  // by target: how many sessions were placed
  std::uint32_t next_sid = 1;
  std::uint16_t last_tsih = 0;
  bool closing = false;
};

// A place that a login was given. Given back by the destructor when nothing came of it.
struct Sessions::Impl::Place final : Seat {
  Place(std::weak_ptr<Impl> directory, std::shared_ptr<Entry> of, Admission how)
      : impl(std::move(directory)), entry(std::move(of)), admission(std::move(how)) {
    tsih = entry->tsih;
  }
  ~Place() override {
    const auto directory = impl.lock();
    if (used || directory == nullptr) return;
    entry->cids.erase(admission.cid);
    if (entry->session == nullptr) directory->forget(entry->tsih);
  }
  std::weak_ptr<Impl> impl;
  std::shared_ptr<Entry> entry;
  Admission admission;
  bool used = false;
};

Sessions::Sessions(boost::asio::io_context& control, std::span<Shard* const> shards, const Log& log)
    : impl_(std::make_shared<Impl>(control, shards, log)) {
  CHECK(!shards.empty());
}

Sessions::~Sessions() = default;

// The first session of a target lives where its units live, the next ones one shard further each.
Shard& Sessions::Impl::place_for(const Admission& admission) {
  if (admission.target == nullptr) return *shards[next_sid % shards.size()];
  std::size_t first = 0;
  if (!admission.target->luns.empty()) {
    const Shard* const home = &admission.target->luns.front().unit->shard();
    const auto at = std::ranges::find(shards, home);
    if (at != shards.end()) first = static_cast<std::size_t>(at - shards.begin());
  }
  return *shards[(first + spread[admission.target->name]++) % shards.size()];
}

std::uint16_t Sessions::Impl::free_tsih() {
  for (unsigned attempt = 0; attempt < 0xffff; ++attempt) {
    if (++last_tsih == 0) last_tsih = 1;
    if (!entries.contains(last_tsih)) return last_tsih;
  }
  return 0;
}

void Sessions::Impl::forget(std::uint16_t tsih) {
  const auto found = entries.find(tsih);
  if (found == entries.end()) return;
  const auto entry = found->second;
  entries.erase(found);
  entry->gone->set();
}

void Sessions::Impl::end(const std::shared_ptr<Entry>& entry, const char* why) {
  if (entry->session == nullptr) {
    entry->unwanted = true;
    forget(entry->tsih);
    return;
  }
  entry->shard->post([session = entry->session, why] {
    session->announce_end();
    session->end(why);
  });
}

awaitable<void> Sessions::Impl::drop(std::shared_ptr<Entry> entry, const char* why) {
  end(entry, why);
  co_await entry->gone->wait_uncancelled();
}

Session::Host Sessions::Impl::host_of(const std::shared_ptr<Entry>& entry) {
  const std::weak_ptr<Impl> weak = weak_from_this();
  boost::asio::io_context& loop = control;
  const std::weak_ptr<Entry> about = entry;
  const auto at_home = [weak, &loop, about](auto what) {
    boost::asio::post(loop, [weak, about, what] {
      const auto self = weak.lock();
      const auto found = about.lock();
      if (self != nullptr && found != nullptr) what(*self, found);
    });
  };
  return {.ended =
              [at_home] {
                at_home([](Impl& self, const std::shared_ptr<Entry>& found) {
                  self.log.notice("session {} ended initiator={}", found->sid, quoted(found->admission.initiator_name));
                  self.forget(found->tsih);
                });
              },
          .connection_gone =
              [at_home](std::uint16_t cid) {
                at_home([cid](Impl&, const std::shared_ptr<Entry>& found) { found->cids.erase(cid); });
              },
          .cold_reset =
              [at_home] {
                at_home([](Impl& self, const std::shared_ptr<Entry>& found) {
                  for (const auto& each : self.matching(found->admission.target->name)) self.end(each, "target reset");
                });
              }};
}

awaitable<std::expected<std::unique_ptr<Seat>, iscsi::LoginStatus>> Sessions::admit(const Admission& admission) {
  const std::shared_ptr<Impl> impl = impl_;
  const Admission wanted = admission;  // the caller's may be gone when we resume
  if (impl->closing) co_return std::unexpected(iscsi::LoginStatus::service_unavailable);
  if (wanted.tsih != 0) {
    const auto entry = impl->find_tsih(wanted.tsih);
    if (entry == nullptr || entry->session == nullptr || !entry->same_nexus(wanted)) {
      co_return std::unexpected(iscsi::LoginStatus::session_does_not_exist);
    }
    if (entry->cids.contains(wanted.cid)) {  // connection reinstatement: the old one ends first
      const auto gone = std::make_shared<Event>(impl->control.get_executor());
      entry->shard->post([session = entry->session, cid = wanted.cid, gone, &loop = impl->control] {
        session->drop_connection(cid, [gone, &loop] { boost::asio::post(loop, [gone] { gone->set(); }); });
      });
      co_await gone->wait_uncancelled();
      if (impl->find_tsih(wanted.tsih) != entry) co_return std::unexpected(iscsi::LoginStatus::session_does_not_exist);
      entry->cids.erase(wanted.cid);
    }
    if (entry->cids.size() >= entry->admission.parameters.max_connections) {
      co_return std::unexpected(iscsi::LoginStatus::too_many_connections);
    }
    entry->cids.insert(wanted.cid);
    auto place = std::make_unique<Impl::Place>(impl, entry, wanted);
    const auto ask = [session = entry->session] { return session->numbers(); };
    place->numbers = co_await run_on(*entry->shard, ask);
    if (impl->find_tsih(wanted.tsih) != entry) co_return std::unexpected(iscsi::LoginStatus::session_does_not_exist);
    co_return place;
  }
  while (const auto old = impl->find_nexus(wanted)) {
    impl->log.notice("session {} is reinstated initiator={}", old->sid, quoted(wanted.initiator_name));
    co_await impl->drop(old, "reinstated");
  }
  if (impl->closing) co_return std::unexpected(iscsi::LoginStatus::service_unavailable);
  if (!wanted.discovery && wanted.target->sessions_max > 0 &&
      impl->matching(wanted.target->name).size() >= wanted.target->sessions_max) {
    co_return std::unexpected(iscsi::LoginStatus::out_of_resources);
  }
  const std::uint16_t tsih = impl->free_tsih();
  if (tsih == 0) co_return std::unexpected(iscsi::LoginStatus::out_of_resources);
  const auto entry = std::make_shared<Entry>();
  entry->tsih = tsih;
  entry->sid = impl->next_sid++;
  entry->admission = wanted;
  entry->shard = &impl->place_for(wanted);
  entry->gone = std::make_shared<Event>(impl->control.get_executor());
  entry->cids.insert(wanted.cid);
  impl->entries.emplace(tsih, entry);
  co_return std::make_unique<Impl::Place>(impl, entry, wanted);
}

void Sessions::establish(std::unique_ptr<Seat> seat, Established connection) {
  auto& place = static_cast<Impl::Place&>(*seat);
  const std::shared_ptr<Entry> entry = place.entry;
  if (impl_->find_tsih(entry->tsih) != entry || impl_->closing) return;  // overtaken: the connection just closes
  place.used = true;
  const bool first = entry->session == nullptr;
  if (first) {
    // Units that have come since the login began are seen, those that have gone are not.
    if (impl_->targets != nullptr && entry->admission.target != nullptr) {
      if (auto now = impl_->targets->find(entry->admission.target->name)) entry->admission.target = std::move(now);
    }
    if (impl_->targets != nullptr) impl_->watch(*impl_->targets);
    entry->session = std::make_shared<Session>(
        *entry->shard,
        Session::Options{.sid = entry->sid,
                         .tsih = entry->tsih,
                         .admission = entry->admission,
                         .targets = impl_->targets != nullptr ? impl_->targets : std::make_shared<const TargetsView>(),
                         .cmd_sn = connection.cmd_sn},
        impl_->host_of(entry), impl_->log.about(fmt::format("session {}", entry->sid)));
    impl_->log.notice("session {} begins initiator={} target={} remote={}", entry->sid,
                      quoted(entry->admission.initiator_name),
                      quoted(entry->admission.discovery ? "-" : entry->admission.target->name), place.admission.remote);
  }
  entry->shard->post([session = entry->session, first, admission = std::move(place.admission),
                      moved = std::make_shared<Established>(std::move(connection))] {
    if (first) session->start();
    session->add(admission, std::move(*moved));
  });
}

// ---- what the configuration says -----------------------------------------------------------------------------------

// Unit attentions that should be heard at once come from the unit's shard by way of the control thread.
void Sessions::Impl::watch(const TargetsView& view) {
  const std::weak_ptr<Impl> weak = weak_from_this();
  for (const auto& target : view.targets) {
    for (const LunEntry& entry : target->luns) {
      LogicalUnit* const unit = entry.unit.get();
      unit->shard().post([unit, keep = entry.unit, weak, &loop = control] {
        unit->on_attention = [unit, weak, &loop](Nexus& nexus) {
          if (!nexus.attentions.pending()) return;
          boost::asio::post(loop, [unit, weak, name = nexus.name, sense = nexus.attentions.first()] {
            if (const auto self = weak.lock()) self->attention(unit, name, sense);
          });
        };
      });
    }
  }
}

void Sessions::Impl::attention(const LogicalUnit* unit, const NexusName& name, const scsi::Sense& sense) {
  for (const auto& [tsih, entry] : entries) {
    const Admission& admission = entry->admission;
    if (entry->session == nullptr || admission.discovery) continue;
    if (admission.initiator_name != name.initiator.name || admission.isid != name.initiator.isid) continue;
    if (admission.target->name != name.target.target || admission.portal_group != name.target.portal_group) continue;
    entry->shard->post([session = entry->session, unit, sense] { session->attention(unit, sense); });
  }
}

void Sessions::set_targets(std::shared_ptr<const TargetsView> targets) {
  impl_->targets = targets;
  impl_->watch(*targets);
  for (const auto& [tsih, entry] : impl_->entries) {
    if (entry->session == nullptr) continue;
    entry->shard->post([session = entry->session, targets] { session->set_targets(targets); });
  }
}

awaitable<void> Sessions::update(std::shared_ptr<const TargetsView> targets) {
  const std::shared_ptr<Impl> impl = impl_;
  const auto before = impl->targets;
  set_targets(targets);
  std::vector<std::shared_ptr<Event>> waits;
  for (const auto& entry : impl->matching({})) {
    if (entry->admission.discovery) continue;
    const auto now = targets->find(entry->admission.target->name);
    if (now == nullptr) {
      impl->end(entry, "the target is gone");
      waits.push_back(entry->gone);
      continue;
    }
    if (entry->session == nullptr) continue;
    const auto done = std::make_shared<Event>(impl->control.get_executor());
    entry->shard->post([session = entry->session, targets, done, &loop = impl->control] {
      session->update(targets, [done, &loop] { boost::asio::post(loop, [done] { done->set(); }); });
    });
    waits.push_back(done);
  }
  for (const auto& wait : waits) co_await wait->wait_uncancelled();
  if (before == nullptr) co_return;
  // The units that stay say that there are others, or fewer.
  for (const auto& target : targets->targets) {
    const auto old = before->find(target->name);
    if (old == nullptr) continue;
    const bool same = std::ranges::equal(old->luns, target->luns, [](const LunEntry& a, const LunEntry& b) {
      return a.lun == b.lun && a.unit == b.unit;
    });
    if (same) continue;
    for (const LunEntry& entry : target->luns) {
      const bool stays = std::ranges::any_of(old->luns, [&](const LunEntry& each) { return each.unit == entry.unit; });
      if (!stays) continue;
      const auto tell = [unit = entry.unit] { unit->report_luns_changed(); };
      co_await run_on(entry.unit->shard(), tell);
    }
  }
}

awaitable<std::vector<SessionStatus>> Sessions::list() const {
  const std::shared_ptr<Impl> impl = impl_;
  std::vector<SessionStatus> result;
  for (const auto& entry : impl->matching({})) {
    if (entry->session == nullptr) continue;
    const auto ask = [session = entry->session] { return session->status(); };
    SessionStatus status = co_await run_on(*entry->shard, ask);
    result.push_back(std::move(status));
  }
  std::ranges::sort(result, {}, &SessionStatus::sid);
  co_return result;
}

// ---- the end -------------------------------------------------------------------------------------------------------

awaitable<bool> Sessions::disconnect(std::uint32_t sid) {
  const std::shared_ptr<Impl> impl = impl_;
  for (const auto& entry : impl->matching({})) {
    if (entry->sid != sid) continue;
    co_await impl->drop(entry, "disconnected by the administrator");
    co_return true;
  }
  co_return false;
}

awaitable<void> Sessions::mute_local(IpAddress address) {
  const std::shared_ptr<Impl> impl = impl_;
  for (const auto& entry : impl->matching({})) {
    if (entry->session == nullptr) continue;
    const auto mute = [session = entry->session, address] { session->mute_connections(address); };
    co_await run_on(*entry->shard, mute);
  }
}

awaitable<std::size_t> Sessions::drop_local(IpAddress address) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::optional<IpAddress> there = address;
  co_return co_await impl->reset(there, "its address leaves this machine");
}

awaitable<std::size_t> Sessions::drop_all(const char* why) {
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await impl->reset(std::nullopt, why);
}

awaitable<std::size_t> Sessions::Impl::reset(std::optional<IpAddress> local, const char* why) {
  std::size_t count = 0;
  for (const auto& entry : matching({})) {
    if (entry->session == nullptr) continue;  // a login under way, which is Portals' business
    const auto work = [session = entry->session, local, why] { return session->reset_connections(local, why); };
    count += co_await run_on(*entry->shard, work);
  }
  co_return count;
}

awaitable<void> Sessions::log_out(std::string_view target, std::chrono::milliseconds grace) {
  const std::shared_ptr<Impl> impl = impl_;
  const auto leaving = impl->matching(target);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(grace).count();
  for (const auto& entry : leaving) {
    if (entry->session == nullptr) {
      impl->end(entry, "logout requested");
      continue;
    }
    entry->shard->post([session = entry->session, seconds] {
      session->ask_logout(static_cast<std::uint16_t>(std::clamp<std::int64_t>(seconds, 0, 0xffff)));
    });
  }
  if (grace.count() > 0) {
    // One alarm ends those that are left; each that goes by itself is waited for below.
    const auto alarm = impl->clock.make_alarm([weak = std::weak_ptr<Impl>(impl), leaving] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      for (const auto& entry : leaving) {
        if (!entry->gone->is_set()) self->end(entry, "logout requested");
      }
    });
    alarm->set(impl->clock.now() + grace);
    for (const auto& entry : leaving) co_await entry->gone->wait_uncancelled();
    co_return;
  }
  for (const auto& entry : leaving) impl->end(entry, "logout requested");
  for (const auto& entry : leaving) co_await entry->gone->wait_uncancelled();
}

awaitable<void> Sessions::close(std::chrono::milliseconds grace) {
  impl_->closing = true;
  const std::string_view everybody;
  co_await log_out(everybody, grace);
}

}  // namespace mpath::target
