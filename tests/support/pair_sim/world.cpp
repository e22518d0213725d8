#include "tests/support/pair_sim/world.hpp"

#include <algorithm>
#include <memory>

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;

constexpr std::size_t lines_kept = 400;
constexpr std::int64_t million = 1'000'000;

}  // namespace

World::World(std::uint64_t seed, bool tracing)
    : tracing_(tracing),
      log_(*this, tracing ? LogLevel::notice : static_cast<LogLevel>(0)),  // below every level: nothing is formatted
      random_(seed) {
  // Within the drift of 2 %.
  for (Host& host : hosts_) host.fast_ppm = static_cast<std::int64_t>(roll(18001)) - 9000;
}

// ---- time ----------------------------------------------------------------------------------------------------------

void World::add(Duration delay, Event event) {
  std::uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.push_back(std::move(event));
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = std::move(event);
  }
  due_.push_back({.when = now_ + delay, .order = order_++, .slot = slot});
  std::ranges::push_heap(due_, Later());
}

bool World::next_until(TimePoint end) {
  if (due_.empty() || due_.front().when > end) return false;
  std::ranges::pop_heap(due_, Later());
  const Due due = due_.back();
  due_.pop_back();
  now_ = due.when;
  ++events_;
  Event event = std::move(slots_[due.slot]);
  free_slots_.push_back(due.slot);
  happen(std::move(event));
  return true;
}

void World::happen(Event event) {
  if (event.host) {
    Host& host = of(*event.host);
    if (!host.up || (event.life && *event.life != host.life)) return;
    if (event.from && *event.from != *event.host && cut(*event.from, *event.host)) return;
    if (now_ < host.paused_until) {
      if (event.from && host.deaf) return;
      host.asleep.push_back(std::move(event.what));
      return;
    }
  }
  event.what();
}

void World::in(Member host, Duration delay, Task what) {
  add(delay, {.what = std::move(what), .host = host, .life = life(host)});
}

// ---- hosts ---------------------------------------------------------------------------------------------------------

TimePoint World::local(Member host) const {
  const Duration passed = now_ - begin_;
  return now_ + passed * of(host).fast_ppm / million;
}

Duration World::from_local(Member host, Duration duration) const {
  return duration * million / (million + of(host).fast_ppm);
}

void World::start(Member host) {
  of(host).up = true;
  ++of(host).life;
}

void World::stop(Member host) {
  Host& ended = of(host);
  ended.up = false;
  ++ended.life;
  ended.asleep.clear();
  ended.paused_until = TimePoint::min();
}

void World::pause(Member host, Duration how_long, bool deaf) {
  if (!up(host) || paused(host)) return;
  note("{} pauses{} for {} ms", name(host), deaf ? " deaf" : "", how_long / std::chrono::milliseconds(1));
  of(host).deaf = deaf;
  of(host).paused_until = now_ + how_long;
  in(host, how_long, [this, host, life = life(host)] {
    // What came meanwhile is found in any order.
    std::deque<Task> found = std::exchange(of(host).asleep, {});
    std::shuffle(found.begin(), found.end(), random_);
    for (Task& what : found) {
      if (up(host) && this->life(host) == life) what();
    }
  });
}

// ---- links ---------------------------------------------------------------------------------------------------------

void World::join_links() {
  for (auto& row : cut_) row.fill(false);
}

Duration World::travel() {
  return microseconds(100 + roll(chance(3) ? 150000 : 3000));
}

void World::deliver(Member from, Member to, Task what) {
  const auto send = [&](Task copy) {
    const Duration delay = from == to ? microseconds(10) : travel();
    add(delay, {.what = std::move(copy), .host = to, .from = from});
  };
  if (from == to) return send(std::move(what));
  if (cut(from, to) || chance(loss_)) return;
  if (!chance(2)) return send(std::move(what));
  const auto shared = std::make_shared<Task>(std::move(what));
  for (int copy = 0; copy < 2; ++copy) send([shared] { (*shared)(); });
}

// ---- what is seen --------------------------------------------------------------------------------------------------

void World::keep(const std::string& line) {
  trace_.push_back(fmt::format("{:.6f} {}", seconds(), line));
  if (trace_.size() > lines_kept) trace_.pop_front();
}

void World::violated(const std::string& what) {
  if (violation_.empty()) violation_ = fmt::format("{:.6f} s: {}", seconds(), what);
}

}  // namespace mpath::target::replication::test
