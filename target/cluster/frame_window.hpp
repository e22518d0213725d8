// Which frames of a sender have come already, and by which links: each is taken once, whatever way it came, in whatever
// order.
//
// Pure. Authentic frames only: what nobody vouches for must not move the window.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace mpath::target::cluster {

class FrameWindow {
 public:
  static constexpr std::uint64_t span = 1024;  // seconds of a busy sender: links may differ by that much
  static constexpr unsigned links_max = 8;

  enum class Verdict : std::uint8_t {
    fresh,
    copy,      // came by another link already
    repeated,  // came by this link already, or is too old to know
    old_life,  // the sender has started again since
  };

  // Incarnation and number as the frame has them; `link` < links_max.
  [[nodiscard]] Verdict take(std::uint64_t incarnation, std::uint64_t number, unsigned link) {
    if (incarnation < incarnation_) return Verdict::old_life;
    if (incarnation > incarnation_) *this = FrameWindow(incarnation);
    if (number == 0) return Verdict::repeated;  // nobody sends it
    if (number > highest_) {
      const std::uint64_t passed = std::min(number - highest_, span);
      for (std::uint64_t step = 1; step <= passed; ++step) links_of(highest_ + step) = 0;
      highest_ = number;
      links_of(number) = bit(link);
      return Verdict::fresh;
    }
    if (highest_ - number >= span) return Verdict::repeated;
    std::uint8_t& seen = links_of(number);
    const bool first = seen == 0;
    const bool here = (seen & bit(link)) != 0;
    seen = static_cast<std::uint8_t>(seen | bit(link));
    if (first) return Verdict::fresh;
    return here ? Verdict::repeated : Verdict::copy;
  }

  [[nodiscard]] std::uint64_t incarnation() const { return incarnation_; }

  FrameWindow() = default;

 private:
  explicit FrameWindow(std::uint64_t incarnation) : incarnation_(incarnation) {}
  [[nodiscard]] static std::uint8_t bit(unsigned link) { return static_cast<std::uint8_t>(1U << link); }
  [[nodiscard]] std::uint8_t& links_of(std::uint64_t number) { return links_[number % span]; }

  std::uint64_t incarnation_ = 0;
  std::uint64_t highest_ = 0;
  std::array<std::uint8_t, span> links_{};  // by number: the links it came by
};

}  // namespace mpath::target::cluster
