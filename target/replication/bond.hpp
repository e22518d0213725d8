// What several links make of one stream: every message has a number, is kept until the peer has seen it, and is sent
// again over another link when its own ends. The messages of the other direction come in their order, each once.
//
//   send() ── number ── the link with room ──► ... ──► InOrder ── next | early | twice
//      ▲                                                  │
//   kept until seen() ◄──────────── `seen` of each head ◄─┘
//
// Links:   one is used until it has `spread_bytes` more under way than another: little traffic stays together, much of
//          it is spread.
// Stalls:  a link that has something under way, of which nothing was acknowledged for half of its stall limit, is
//          asked, and so are the others. If another is heard after that, and it has not answered for another half, it
//          is given up. What else comes over it says nothing: it may be cut one way. While no other is heard none is
//          given up: then the network or the peer stands still, and the stream's own limit counts.
// Bounds:  window_max messages are kept at most, on either side.
// Pure: no socket, no clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

// A message that was sent and not seen; whoever sends it adds what it carries.
struct BondMessage {
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
  std::size_t link = 0;  // that carries it; Bond::no_link: it waits for one
};

struct BondOptions {
  std::size_t first_link = 0;  // used while there is little to do, if it is up
  std::uint64_t spread_bytes = 256 << 10;
  Duration stall_max = std::chrono::milliseconds(60);
  Duration idle_interval = std::chrono::seconds(1);  // between two questions on a link that is not used
  std::uint64_t window_max = 1 << 16;
};

class Bond {
 public:
  static constexpr std::size_t no_link = stream_links_max;
  using Links = std::uint32_t;  // a bit each

  explicit Bond(const BondOptions& options = {}) : options_(options), current_(options.first_link) {}

  // --- what is sent
  [[nodiscard]] bool full() const { return next_ - first_ >= options_.window_max; }
  // Gives it its number, and a link if there is one: send it there. `hint`: a link that would be as good, for what is
  // small; it is taken when it is up. Borrowed until it was released.
  void send(BondMessage& message, std::size_t hint = no_link);
  // The peer has everything up to `number`: `release(BondMessage&)` is called for each that was kept. False: it has
  // seen what was never sent.
  template <typename Release>
  [[nodiscard]] bool seen(std::uint64_t number, Release release) {
    if (number >= next_) return false;
    while (first_ <= number) {
      BondMessage& message = *at(first_++);
      forget_load(message);
      release(message);
    }
    return true;
  }
  // Gives a link to each that waits for one, and calls `again(BondMessage&)`: send it there.
  template <typename Again>
  void send_again(Again again) {
    if (up_ == 0 || waiting_ == 0) return;
    for (std::uint64_t number = first_; number < next_ && waiting_ > 0; ++number) {
      BondMessage& message = *at(number);
      if (message.link != no_link) continue;
      --waiting_;
      carry(message, choose());
      again(message);
    }
  }
  [[nodiscard]] bool keeps_any_up_to(std::uint64_t number) const { return first_ <= number && first_ < next_; }
  template <typename Each>
  void each_kept(Each each) const {
    for (std::uint64_t number = first_; number < next_; ++number) each(*at(number));
  }
  [[nodiscard]] std::uint64_t kept() const { return next_ - first_; }

  // --- links
  void up(std::size_t link);
  // What it carried waits for another: send_again().
  void down(std::size_t link);
  [[nodiscard]] Links links() const { return up_; }
  [[nodiscard]] bool is_up(std::size_t link) const { return (up_ >> link & 1U) != 0; }
  // Anything came over it; `answered`: to a question of ours.
  void heard(std::size_t link, bool answered) {
    states_[link].heard = true;
    states_[link].answered = states_[link].answered || answered;
  }

  // --- whether they live
  struct Sight {
    std::uint64_t acknowledged_bytes = 0;  // by the peer's machine, so far
    Duration round_trip{};
  };
  struct Judgement {
    Links ask = 0;      // send a StreamOp::link that wants an answer there
    Links give_up = 0;  // close it, say down()
  };
  // To be called every look_interval() while busy(), and every idle_interval otherwise. `sights`: of each link.
  [[nodiscard]] Judgement look(TimePoint now, std::span<const Sight> sights);
  [[nodiscard]] bool busy() const;
  [[nodiscard]] Duration look_interval() const { return options_.stall_max / 4; }
  [[nodiscard]] Duration idle_interval() const { return options_.idle_interval; }

 private:
  struct State {
    std::uint64_t messages = 0, bytes = 0;  // under way
    bool heard = false, answered = false;   // since the last look
    bool asked = false;                     // and no sign of life since
    std::uint64_t acknowledged_bytes = 0;
    TimePoint heard_at;
    Duration lived_at{}, asked_at{};           // as watched_
    std::uint64_t heard_in = 0, asked_in = 0;  // as looks_
    [[nodiscard]] bool waits() const { return messages > 0 || asked; }
  };

  [[nodiscard]] BondMessage*& at(std::uint64_t number) { return ring_[number & (ring_.size() - 1)]; }
  [[nodiscard]] BondMessage* at(std::uint64_t number) const { return ring_[number & (ring_.size() - 1)]; }
  [[nodiscard]] std::size_t choose();
  void carry(BondMessage& message, std::size_t link);
  void forget_load(const BondMessage& message);

  BondOptions options_;
  std::vector<BondMessage*> ring_ = std::vector<BondMessage*>(64);  // [first_, next_), by number
  std::uint64_t first_ = 1, next_ = 1;
  std::uint64_t waiting_ = 0;  // of them, without a link
  Links up_ = 0;
  std::size_t current_;
  std::array<State, stream_links_max> states_;
  std::optional<TimePoint> looked_at_;
  Duration watched_{};  // the time that was looked at
  std::uint64_t looks_ = 0;
};

// The messages of the other direction.
template <typename Value>
class InOrder {
 public:
  enum class Fate : std::uint8_t {
    next,    // passed with this call: it is to be delivered
    early,   // keep() it
    twice,   // it came before
    beyond,  // nobody may have sent it yet
  };

  explicit InOrder(std::uint64_t window_max) : window_max_(window_max) {}

  [[nodiscard]] Fate judge(std::uint64_t number) {
    if (number <= passed_) return Fate::twice;
    if (number == passed_ + 1) {
      ++passed_;
      return Fate::next;
    }
    if (number - passed_ > window_max_) return Fate::beyond;
    return number - passed_ < ring_.size() && slot(number) ? Fate::twice : Fate::early;
  }
  void keep(std::uint64_t number, Value value) {
    while (number - passed_ >= ring_.size()) grow();
    slot(number).emplace(std::move(value));
    ++kept_;
  }
  // One that was kept and is next now: passed with this call.
  [[nodiscard]] std::optional<Value> take_next() {
    if (kept_ == 0 || !slot(passed_ + 1)) return std::nullopt;
    --kept_;
    ++passed_;
    return std::exchange(slot(passed_), std::nullopt);
  }
  // Everything up to this number has come.
  [[nodiscard]] std::uint64_t passed() const { return passed_; }
  [[nodiscard]] std::size_t kept() const { return kept_; }
  void clear() {
    for (auto& each : ring_) each.reset();
    kept_ = 0;
  }

 private:
  [[nodiscard]] std::optional<Value>& slot(std::uint64_t number) { return ring_[number & (ring_.size() - 1)]; }
  void grow() {
    std::vector<std::optional<Value>> wider(ring_.size() * 2);
    for (std::uint64_t number = passed_ + 1; number < passed_ + ring_.size(); ++number) {
      wider[number & (wider.size() - 1)] = std::move(slot(number));
    }
    ring_ = std::move(wider);
  }

  std::uint64_t window_max_;
  std::uint64_t passed_ = 0;
  std::size_t kept_ = 0;
  std::vector<std::optional<Value>> ring_ = std::vector<std::optional<Value>>(64);
};

}  // namespace mpath::target::replication
