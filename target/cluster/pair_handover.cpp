// How a node of a pair gives service away: by command, at a stop, when no cable leads to it, when it may not answer.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "target/cluster/pair_impl.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using std::chrono::seconds;

constexpr seconds hold_max{2};       // for the commands under way
constexpr seconds hand_over_max{2};  // for the other node to be decided
constexpr seconds asked_max{5};      // for the other node to do it

}  // namespace

awaitable<Pair::Done> Pair::Impl::hand_over(std::string why) {
  if (!takes_part()) co_return not_joined();
  if (handing_over) co_return std::unexpected(std::string("a switchover is under way"));
  const View before = agreement->fsm().view();
  if (before.primary != self)
    co_return std::unexpected(fmt::format("node {} serves: say it there", name(before.primary)));
  if (!before.in_sync.has(peer)) co_return std::unexpected(fmt::format("node {} is not in sync", name(peer)));
  handing_over = true;
  const auto held = std::make_shared<std::ptrdiff_t>(0);
  const auto answer = back([held](Impl&) { ++*held; });
  // ... and the other node has what was answered before it had it.
  everywhere(copies, [answer](const PairUnit& unit) {
    unit.unit->hold([answer, replica = unit.replica] { replica->when_confirmed([answer] { answer(); }); });
  });
  const auto open = std::ranges::count_if(copies, [](const auto& copy) { return copy->open(); });
  auto all_held = [held, open] { return *held == open; };
  const bool late = co_await until(hold_max, all_held);
  bool begun = false;
  if (!late && takes_part() && agreement->fsm().view() == before) {
    begun = agreement->fsm().hand_over(clock.now());
    if (begun) chronicle.because(std::move(why));
    agreement->settle();
    update();
    auto decided = [this, &before] { return !takes_part() || agreement->fsm().view().number > before.number; };
    static_cast<void>(co_await until(hand_over_max, decided));
  }
  // They are judged anew: where another node leads, initiators are sent there.
  everywhere(copies, [](const PairUnit& unit) { unit.unit->release(); });
  handing_over = false;
  if (agreement->fsm().view().primary == peer) co_return Done();
  if (late) {
    co_return std::unexpected(fmt::format("commands under way did not end in time: node {} keeps serving", name(self)));
  }
  co_return std::unexpected(fmt::format("node {} did not take over", name(peer)));
}

void Pair::Impl::leave_service() {
  log.error("no cable leads to the portals of this node");
  if (!serves || handing_over || agreement->fsm().view().in_sync.size() < 2) return;
  hand_over_later("no cable leads to the portals of this node");
}

void Pair::Impl::hand_over_later(std::string why) {
  tasks.spawn([this, why = std::move(why)]() -> awaitable<void> {
    const auto done = co_await hand_over(why);
    if (!done) log.error("keeps serving, although it should not: {}; it should not, because {}", done.error(), why);
  });
}

awaitable<Pair::Done> Pair::Impl::ask_to_serve() {
  replication::NodeFsm& fsm = agreement->fsm();
  if (!fsm.view().in_sync.has(self)) co_return std::unexpected(fmt::format("node {} is not in sync", name(self)));
  const TimePoint now = clock.now();
  if (fsm.peer_life(now) == 0) co_return std::unexpected(fmt::format("node {} is not heard", name(peer)));
  fsm.ask_to_serve(now + asked_max, now);
  agreement->settle();
  auto served = [this] { return serves; };
  const bool late = co_await until(asked_max, served);
  if (late) {
    co_return std::unexpected(
        fmt::format("node {} did not hand over: `mptargetctl cluster log` there says why", name(peer)));
  }
  co_return Done();
}

void Pair::Impl::heed_peer() {
  const bool asks = agreement->fsm().peer_asks_to_serve(clock.now());
  if (std::exchange(peer_asked, asks) || !asks || handing_over || leaving) return;
  hand_over_later(fmt::format("switchover by command on node {}", name(peer)));
}

void Pair::Impl::send_away() {
  if (takes_part() && !serves && !leaving && roles->leads()) drop_all("this node may not answer");
}

void Pair::Impl::drop_all(const char* why) {
  if (!drop_initiators) return;
  tasks.spawn([this, why]() -> awaitable<void> {
    const std::size_t count = co_await drop_initiators(why);
    log.warning("initiators were sent away connections={} reason=\"{}\"", count, why);
  });
}

// What a medium that hangs was given can neither be answered nor ended here, and another node has taken over.
void Pair::Impl::leave_hung_medium() {
  bool hangs = false;
  for (std::size_t index = 0; index < copies.size(); ++index) hangs = hangs || roles->report(index).medium_hangs;
  const bool stuck = hangs && !roles->leads();
  if (std::exchange(left_hung_medium, stuck) || !stuck) return;
  drop_all("the medium of this node hangs");
}

}  // namespace mpath::target::cluster
