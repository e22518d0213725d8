// What administrators say to a node of a pair, and the counters they are shown.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "target/cluster/pair_impl.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using std::chrono::milliseconds;

constexpr milliseconds poll_interval{250};  // counters of the copies
constexpr double rate_smoothing = 0.3;

}  // namespace

// Init and join: everything that a copy holds is unknown to the other.
awaitable<Pair::Done> Pair::Impl::enter(VoteRecord record, bool force) {
  if (agreement == nullptr) co_return std::unexpected(std::string("this node is still starting"));
  auto done = co_await agreement->init(record, force);
  if (!done) co_return done;
  everywhere(copies, [](const PairUnit& unit) { unit.replica->mark_all(); });
  begin();
  co_return Done();
}

void Pair::Impl::verify(Copy& copy, bool repair) {
  const Log about = log.about("lu " + copy.unit.name);
  const auto ended = [about, repair](const replication::VerifyResult& result) {
    if (!result.complete) return about.warning("verify: cut short");
    for (const replication::Difference& each : result.differences) {
      about.warning("verify: differs offset={} length={}{}", each.offset, each.length,
                    repair ? ", copied from here" : "");
    }
    about.notice("verify: ended differing_bytes={}", result.differing_bytes);
  };
  there(copy, [repair, ended](const PairUnit& unit) { unit.replica->verify(repair, ended); });
}

void Pair::Impl::verify_now_and_then() {
  const bool both = serves && agreement->fsm().view().in_sync.size() == 2;
  if (!both || config.verify_interval.count() == 0) {
    verify_at = never;
  } else if (verify_at == never) {
    verify_at = clock.now() + config.verify_interval;
  } else if (clock.now() >= verify_at) {
    verify_at = clock.now() + config.verify_interval;
    for (const auto& copy : copies) verify(*copy, false);
  }
}

void Pair::Impl::poll_copies() {
  for (std::size_t index = 0; index < copies.size(); ++index) {
    Copy& copy = *copies[index];
    if (!copy.open() || std::exchange(copy.polling, true)) continue;
    const auto told = back([index](Impl& owner, const replication::ReplicaCounters& counters) {
      Copy& polled = *owner.copies[index];
      polled.polling = false;
      const TimePoint now = owner.clock.now();
      const std::chrono::duration<double> passed = now - polled.polled_at;
      const std::uint64_t filled = counters.fill_done_bytes;
      if (polled.polled_at != TimePoint{} && passed.count() > 0 && filled >= polled.filled_before) {
        const double rate = static_cast<double>(filled - polled.filled_before) / passed.count();
        polled.rate = counters.filling ? polled.rate + rate_smoothing * (rate - polled.rate) : 0;
      }
      polled.filled_before = filled;
      polled.polled_at = now;
      polled.counters = counters;
    });
    const auto links = back([index, id = copy.bonded.id](Impl& owner, const replication::BondCounters& counters) {
      owner.take_counters(index, id, counters);
    });
    there(copy, [told, links, stream = copy.bonded.stream](const PairUnit& unit) {
      const auto alive = stream.lock();
      links(alive != nullptr ? alive->counters() : replication::BondCounters());
      told(unit.replica->counters());
    });
  }
  if (takes_part() && !stopping) {
    update();
    verify_now_and_then();
  }
  poll->set(clock.now() + poll_interval);
}

std::expected<std::vector<Pair::Impl::Copy*>, std::string> Pair::Impl::find(const UnitNames& names) const {
  std::vector<Copy*> found;
  for (const auto& copy : copies) {
    const bool meant = names.empty() || std::ranges::find(names, copy->unit.name) != names.end();
    if (meant) found.push_back(copy.get());
  }
  for (const std::string& wanted : names) {
    const bool known = std::ranges::any_of(copies, [&](const auto& copy) { return copy->unit.name == wanted; });
    if (!known) return std::unexpected(fmt::format("there is no replicated lu {}", wanted));
  }
  return found;
}

std::vector<Decision> Pair::decisions(std::size_t most) {
  return impl_->decisions.recent(most);
}

awaitable<Pair::Done> Pair::init(bool force) {
  VoteRecord first;
  first.decided = {.number = 1, .primary = impl_->self, .in_sync = {impl_->self}};
  co_return co_await impl_->enter(first, force);
}

awaitable<Pair::Done> Pair::join() {
  const VoteRecord empty;
  co_return co_await impl_->enter(empty, false);
}

awaitable<Pair::Done> Pair::switchover() {
  const bool asks = impl_->takes_part() && impl_->agreement->fsm().view().primary == impl_->peer;
  if (asks) co_return co_await impl_->ask_to_serve();
  co_return co_await impl_->hand_over("switchover by command");
}

awaitable<Pair::Done> Pair::maintenance(bool on) {
  if (!impl_->takes_part()) co_return impl_->not_joined();
  const MemberSet nobody;
  const MemberSet both{Member::a, Member::b};
  co_return co_await impl_->agreement->hold_back(on ? both : nobody);
}

awaitable<Pair::Done> Pair::standby(bool on) {
  Impl& impl = *impl_;
  if (!impl.takes_part()) co_return impl.not_joined();
  if (on && impl.agreement->fsm().view().primary == impl.self) {
    // First: a node that nobody can relieve goes on as it was.
    auto done = co_await impl.hand_over("this node is to stand by");
    if (!done) co_return done;
  }
  MemberSet held;
  if (impl.agreement->fsm().held_back().members.has(impl.peer)) held.add(impl.peer);
  if (on) held.add(impl.self);
  co_return co_await impl.agreement->hold_back(held);
}

awaitable<Pair::Done> Pair::connect(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  for (Impl::Copy* copy : *found) copy->held_apart = false;
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::disconnect(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  for (Impl::Copy* copy : *found) copy->held_apart = true;
  impl_->everywhere(*found, [](const PairUnit& unit) { unit.replica->reconnect(); });
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::discard() {
  Impl& impl = *impl_;
  if (!impl.takes_part()) co_return impl.not_joined();
  if (!impl.agreement->fsm().split())
    co_return std::unexpected(std::string("the pair is not split: there is nothing to choose"));
  impl.everywhere(impl.copies, [](const PairUnit& unit) { unit.replica->mark_all(); });
  static_cast<void>(impl.agreement->fsm().give_up(impl.clock.now()));
  impl.chronicle.because("an administrator gave up what only this node had");
  impl.agreement->settle();
  impl.update();
  co_return Done();
}

awaitable<Pair::Done> Pair::invalidate(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  if (!impl_->takes_part()) co_return impl_->not_joined();
  const View& view = impl_->agreement->fsm().view();
  if (view.primary == impl_->self || view.in_sync.only(impl_->self))
    co_return std::unexpected(std::string("nobody else has what this node has: switch over first"));
  impl_->everywhere(*found, [](const PairUnit& unit) {
    unit.replica->mark_all();
    unit.replica->reconnect();
  });
  impl_->agreement->fsm().distrust(impl_->clock.now());
  impl_->agreement->settle();
  impl_->update();
  co_return Done();
}

awaitable<Pair::Done> Pair::verify(UnitNames units, bool repair) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  if (!impl_->serves) co_return std::unexpected(std::string("the node that serves compares: say it there"));
  for (Impl::Copy* copy : *found) impl_->verify(*copy, repair);
  co_return Done();
}

awaitable<Pair::Done> Pair::resync(UnitNames units) {
  const auto found = impl_->find(units);
  if (!found) co_return std::unexpected(found.error());
  impl_->everywhere(*found, [](const PairUnit& unit) { unit.replica->reconnect(); });
  co_return Done();
}

}  // namespace mpath::target::cluster
