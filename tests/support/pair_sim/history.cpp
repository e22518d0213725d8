#include "tests/support/pair_sim/history.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace mpath::target::replication::test {

std::shared_ptr<Write> History::begin(std::size_t block, bool through) {
  auto write = std::make_shared<Write>();
  write->block = block;
  write->value = writes_.size();
  write->through = through;
  writes_.emplace_back(write);
  Block& written = blocks_[block];
  written.possible.insert(write->value);
  written.open.emplace_back(write);
  written.since_through.push_back(write->value);
  return write;
}

void History::acknowledged(Write& write) {
  write.answered = true;
  Block& block = blocks_[write.block];
  block.possible = coming(block);
  block.possible.insert(write.value);
  if (write.through) {
    block.since_through = {write.value};
  } else {
    block.since_through.push_back(write.value);
  }
}

bool History::seen(std::size_t block, std::uint64_t value) {
  Block& read = blocks_[block];
  if (!read.possible.contains(value)) return false;
  read.possible = coming(read);
  read.possible.insert(value);
  std::erase_if(read.open, [](const auto& open) { return open.expired(); });
  return true;
}

bool History::settled(std::size_t block) const {
  return std::ranges::none_of(blocks_[block].open, [](const auto& open) {
    const auto write = open.lock();
    return write != nullptr && !write->answered;
  });
}

void History::total_loss() {
  for (Block& block : blocks_) block.possible.insert(block.since_through.begin(), block.since_through.end());
}

std::shared_ptr<void> History::holding(std::uint64_t value) const {
  return value < writes_.size() ? writes_[value].lock() : nullptr;
}

std::string History::possible(std::size_t block) const {
  return fmt::format("{}", fmt::join(blocks_[block].possible, " "));
}

// Writes without an answer may still come while somebody has them in hand.
std::set<std::uint64_t> History::coming(const Block& block) {
  std::set<std::uint64_t> values;
  for (const auto& open : block.open) {
    if (const auto write = open.lock(); write != nullptr && !write->answered) values.insert(write->value);
  }
  return values;
}

}  // namespace mpath::target::replication::test
