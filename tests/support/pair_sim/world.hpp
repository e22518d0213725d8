// The world a simulated pair lives in: time, chance, the hosts its members run on and the links between them. All that
// happens is an event; those of a host wait while it is paused, and are gone when its life has ended.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "tests/support/pair_sim/sim_parts.hpp"

namespace mpath::target::replication::test {

inline constexpr std::array<Member, 3> everybody{Member::a, Member::b, Member::witness};

class World final : public SimConnection::Net, private LogSink {
 public:
  // `tracing`: what happens is told in lines that are kept.
  World(std::uint64_t seed, bool tracing);

  // --- chance
  [[nodiscard]] std::uint64_t roll(std::uint64_t sides) override { return random_() % sides; }
  [[nodiscard]] bool chance(unsigned percent) { return roll(100) < percent; }

  // --- time
  [[nodiscard]] TimePoint now() const { return now_; }
  void after(Duration delay, Task what) override { add(delay, {.what = std::move(what)}); }
  // In the life that the host has now: later when it is paused.
  void in(Member host, Duration delay, Task what);
  // Until `end`, or until a promise was broken; `after_each` looks at it after each event.
  template <typename Look>
  void run_until(TimePoint end, const Look& after_each) {
    while (violation_.empty() && next_until(end)) after_each();
    if (violation_.empty()) now_ = end;
  }
  [[nodiscard]] std::uint64_t events() const { return events_; }
  [[nodiscard]] TimePoint begin() const { return begin_; }

  // --- hosts
  [[nodiscard]] bool up(Member host) const { return of(host).up; }
  [[nodiscard]] bool paused(Member host) const { return now_ < of(host).paused_until; }
  [[nodiscard]] std::uint64_t life(Member host) const { return of(host).life; }  // another one after each start
  [[nodiscard]] TimePoint local(Member host) const;                              // by its clock
  [[nodiscard]] Duration from_local(Member host, Duration duration) const;
  void start(Member host);
  void stop(Member host);
  // `deaf`: what is sent to it meanwhile is lost, as when a virtual machine is stopped; else it is found afterwards.
  void pause(Member host, Duration how_long, bool deaf);

  // --- links
  [[nodiscard]] bool cut(Member from, Member to) const override {
    return cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }
  void set_cut(Member from, Member to) { cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)] = true; }
  void join_links();
  void set_loss(unsigned percent) { loss_ = percent; }
  Duration travel() override;
  // A datagram: it may be lost, late, repeated, and overtaken.
  void deliver(Member from, Member to, Task what);

  // --- what is seen
  [[nodiscard]] const LogOutput& log() const { return log_; }
  [[nodiscard]] bool tracing() const { return tracing_; }
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    if (tracing_) keep(fmt::format(format, std::forward<Args>(args)...));
  }
  // The first one is told, and ends the run.
  void violated(const std::string& what);
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::vector<std::string> trace() const { return {trace_.begin(), trace_.end()}; }

 private:
  struct Host {
    bool up = false;
    TimePoint paused_until = TimePoint::min();
    bool deaf = false;          // while it is paused
    std::int64_t fast_ppm = 0;  // of its clock
    std::uint64_t life = 0;
    std::deque<Task> asleep;
  };
  // What happens, and what has to be so that it does.
  struct Event {
    Task what;
    std::optional<Member> host = std::nullopt;
    std::optional<Member> from = std::nullopt;         // a datagram: whence
    std::optional<std::uint64_t> life = std::nullopt;  // of the host
  };
  struct Due {
    TimePoint when;
    std::uint64_t order;
    std::uint32_t slot;  // in slots_
  };
  struct Later {
    bool operator()(const Due& left, const Due& right) const {
      return left.when != right.when ? left.when > right.when : left.order > right.order;
    }
  };

  [[nodiscard]] Host& of(Member host) { return hosts_[static_cast<std::size_t>(host)]; }
  [[nodiscard]] const Host& of(Member host) const { return hosts_[static_cast<std::size_t>(host)]; }
  void add(Duration delay, Event event);
  bool next_until(TimePoint end);
  void happen(Event event);
  void keep(const std::string& line);
  void write(LogLevel, std::string_view line) noexcept override { keep(std::string(line)); }
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(now_ - begin_).count(); }

  const bool tracing_;
  LogOutput log_;
  std::mt19937_64 random_;
  TimePoint begin_{std::chrono::hours(1)};
  TimePoint now_ = begin_;
  std::vector<Due> due_;  // a heap: the earliest first
  std::vector<Event> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::uint64_t order_ = 0, events_ = 0;
  std::array<Host, 3> hosts_;
  std::array<std::array<bool, 3>, 3> cut_{};
  unsigned loss_ = 2;
  std::deque<std::string> trace_;
  std::string violation_;
};

}  // namespace mpath::target::replication::test
