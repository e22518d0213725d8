// What several clients have seen of one block that they change by COMPARE AND WRITE, and whether it was one register:
// that there is an order of all of it, each at a moment between its begin and its answer, in which every comparison and
// every read is right.
//
// Exact, and simple because no value is written twice: who followed whom is in the values. What has no answer may have
// been done at any time or never.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace mpath::target::replication::test {

struct CellOp {
  std::uint64_t expected = 0;
  std::optional<std::uint64_t> value;  // to be written where `expected` is; none: a read
  TimePoint begun = TimePoint::min();
  TimePoint ended = never;            // never: there was no answer
  std::optional<std::uint64_t> read;  // what a read, or a comparison that failed, has found
  bool before_loss = false;           // was open when all power was lost: its answer may tell of what was before that
  [[nodiscard]] bool answered() const { return ended != never; }
  [[nodiscard]] bool written() const { return value && !read; }  // when it was answered
};

class CellHistory {
 public:
  // The owner ends it: `ended`, and `read` if something else was found.
  [[nodiscard]] std::shared_ptr<CellOp> begin(std::uint64_t expected, bool write, TimePoint now);
  // All power was lost: what nobody was told to be written may be gone, even when it was read.
  // Both: false when what came before was no register.
  [[nodiscard]] bool total_loss();
  [[nodiscard]] bool is_register() const;
  [[nodiscard]] std::size_t answers() const;  // to writes

 private:
  // In which order values followed each other, if that can be.
  [[nodiscard]] std::optional<std::vector<const CellOp*>> order(std::uint64_t first) const;
  [[nodiscard]] bool fits(std::uint64_t first, const std::vector<const CellOp*>& chain) const;

  static constexpr std::uint64_t first_value = std::uint64_t{1} << 40;  // unlike those of others
  std::uint64_t last_value_ = first_value;
  std::set<std::uint64_t> first_{0};  // one of these it was in the beginning
  std::vector<std::shared_ptr<CellOp>> ops_;
  std::size_t answers_before_ = 0;
};

}  // namespace mpath::target::replication::test
