#include "tests/support/pair_sim/history.hpp"

#include <fmt/format.h>

namespace mpath::target::replication::test {

void History::begun(const std::shared_ptr<Write>& write) {
  Block& block = blocks_[write->block];
  block.possible.insert(write->value);
  block.open.emplace_back(write);
  block.since_through.push_back(write->value);
  begun_.resize(std::max<std::size_t>(begun_.size(), write->value + 1), TimePoint::min());
  begun_[write->value] = write->begun;
}

void History::acknowledged(const Write& write) {
  Block& block = blocks_[write.block];
  std::erase_if(block.open, [&](const auto& open) { return open.expired() || open.lock().get() == &write; });
  // An answer that was on its way when all power was lost says nothing of what is left, unless it was synchronised.
  if (write.through || !block.doubtful.contains(write.value)) block.possible = coming(block);
  block.possible.insert(write.value);
  if (write.through) {
    block.since_through = {write.value};
  } else {
    block.since_through.push_back(write.value);
  }
}

void History::acknowledged_early(const Write& write, TimePoint now) {
  // Writes of one block are never under way together: the other node has the one before.
  std::erase_if(at_risk_, [&](const AtRisk& each) { return each.block == write.block; });
  std::set<std::uint64_t> before = blocks_[write.block].possible;
  before.erase(write.value);
  at_risk_.push_back({.block = write.block, .value = write.value, .answered = now, .before = std::move(before)});
  acknowledged(write);
}

void History::barrier(TimePoint begun) {
  std::erase_if(at_risk_, [&](const AtRisk& each) { return each.answered < begun; });
}

std::string History::taken_over(const std::vector<std::uint64_t>& values, std::size_t lost_max) {
  std::vector<AtRisk> gone;
  for (const AtRisk& each : at_risk_) {
    Block& block = blocks_[each.block];
    const std::uint64_t value = values[each.block];
    if (block.possible.contains(value) || !each.before.contains(value)) continue;
    block.possible = coming(block);
    block.possible.insert(value);
    gone.push_back(each);
  }
  at_risk_.clear();
  lost += gone.size();
  if (gone.size() > lost_max) return fmt::format("{} answered writes are lost, of {} at most", gone.size(), lost_max);
  for (const AtRisk& each : gone) {
    for (const std::uint64_t value : values) {
      if (value < begun_.size() && begun_[value] > each.answered)
        return fmt::format("{} is lost, and {} is there, which was begun after the answer to it", each.value, value);
    }
  }
  return {};
}

bool History::seen(std::size_t block, std::uint64_t value) {
  Block& read = blocks_[block];
  if (!read.possible.contains(value)) return false;
  // No answer is taken back.
  std::erase_if(at_risk_, [&](const AtRisk& each) { return each.block == block; });
  read.possible = coming(read);
  read.possible.insert(value);
  std::erase_if(read.open, [](const auto& open) { return open.expired(); });
  return true;
}

bool History::state_seen(std::uint32_t generation) {
  if (generation < generation_) return false;
  generation_ = generation;
  return true;
}

bool History::settled(std::size_t block) const {
  return std::ranges::all_of(blocks_[block].open, [](const auto& open) { return open.expired(); });
}

void History::total_loss() {
  at_risk_.clear();
  for (Block& block : blocks_) {
    block.possible.insert(block.since_through.begin(), block.since_through.end());
    block.doubtful.merge(coming(block));
  }
}

std::string History::possible(std::size_t block) const {
  return fmt::format("{}", fmt::join(blocks_[block].possible, " "));
}

// Writes without an answer may still come while somebody has them in hand.
std::set<std::uint64_t> History::coming(const Block& block) {
  std::set<std::uint64_t> values;
  for (const auto& open : block.open) {
    if (const auto write = open.lock(); write != nullptr) values.insert(write->value);
  }
  return values;
}

std::shared_ptr<Write> Histories::begin(std::size_t block, bool through, TimePoint now) {
  auto write = std::make_shared<Write>();
  write->block = block;
  write->value = writes_.size();
  write->through = through;
  write->begun = now;
  writes_.emplace_back(write);
  sides_[0]->begun(write);
  if (forked()) sides_[1]->begun(write);
  return write;
}

bool Histories::settled(std::size_t block) const {
  return sides_[0]->settled(block) && sides_[1]->settled(block);
}

void Histories::fork() {
  if (!forked()) sides_[1] = std::make_shared<History>(*sides_[0]);
}

void Histories::join(Member kept) {
  const auto history = sides_[static_cast<std::size_t>(kept)];
  sides_.fill(history);
}

}  // namespace mpath::target::replication::test
