#include "tests/support/pair_sim/cell_history.hpp"

#include <algorithm>
#include <map>

namespace mpath::target::replication::test {

std::shared_ptr<CellOp> CellHistory::begin(std::uint64_t expected, bool write, TimePoint now) {
  auto op = std::make_shared<CellOp>();
  op->expected = expected;
  if (write) op->value = ++last_value_;
  op->begun = now;
  ops_.push_back(op);
  return op;
}

// Writes that were done for certain: those that were answered, and those whose value somebody has found.
std::optional<std::vector<const CellOp*>> CellHistory::order(std::uint64_t first) const {
  std::set<std::uint64_t> found;
  std::map<std::uint64_t, const CellOp*> writer;  // by value
  for (const auto& op : ops_) {
    if (op->value) writer.emplace(*op->value, op.get());
    if (op->before_loss) continue;
    if (op->answered() && op->read) found.insert(*op->read);
    if (op->answered() && op->written()) found.insert({*op->value, op->expected});
  }
  // What they found in turn was there, too.
  for (bool more = true; more;) {
    more = false;
    for (const std::uint64_t value : std::vector(found.begin(), found.end())) {
      const auto place = writer.find(value);
      if (place != writer.end() && value != first) more = found.insert(place->second->expected).second || more;
    }
  }
  std::map<std::uint64_t, const CellOp*> next;  // by what was there before
  std::size_t done = 0;
  for (const std::uint64_t value : found) {
    if (value == first) continue;
    const auto place = writer.find(value);
    if (place == writer.end()) return std::nullopt;                                         // nobody has written it
    if (!next.emplace(place->second->expected, place->second).second) return std::nullopt;  // two found the same
    ++done;
  }
  std::vector<const CellOp*> chain;
  std::uint64_t at = first;
  for (auto place = next.find(at); place != next.end() && chain.size() < done; place = next.find(at)) {
    chain.push_back(place->second);
    at = *place->second->value;
  }
  if (chain.size() != done) return std::nullopt;
  return chain;
}

// Each as early as it can be: if that does not do, nothing does.
bool CellHistory::fits(std::uint64_t first, const std::vector<const CellOp*>& chain) const {
  std::multimap<std::uint64_t, const CellOp*> readers;
  for (const auto& op : ops_) {
    if (op->answered() && op->read && !op->before_loss) readers.emplace(*op->read, op.get());
  }
  TimePoint now = TimePoint::min();
  const auto readers_fit = [&](std::uint64_t value) {
    TimePoint last = now;
    const auto [from, to] = readers.equal_range(value);
    for (auto reader = from; reader != to; ++reader) {
      const TimePoint at = std::max(now, reader->second->begun);
      if (at > reader->second->ended) return false;
      last = std::max(last, at);
    }
    now = last;
    return true;
  };
  if (!readers_fit(first)) return false;
  for (const CellOp* const op : chain) {
    now = std::max(now, op->begun);
    if (now > op->ended || !readers_fit(*op->value)) return false;
  }
  return true;
}

bool CellHistory::is_register() const {
  return std::ranges::any_of(first_, [this](std::uint64_t first) {
    const auto chain = order(first);
    return chain && fits(first, *chain);
  });
}

bool CellHistory::total_loss() {
  std::set<std::uint64_t> left;
  for (const std::uint64_t first : first_) {
    const auto chain = order(first);
    if (!chain || !fits(first, *chain)) continue;
    const auto kept = std::find_if(chain->rbegin(), chain->rend(), [](const CellOp* op) { return op->answered(); });
    if (kept == chain->rend()) left.insert(first);
    const auto begin = kept == chain->rend() ? chain->begin() : std::prev(kept.base());
    for (auto op = begin; op != chain->end(); ++op) left.insert(*(*op)->value);
  }
  if (left.empty()) return false;
  // What was open at the loss before this one may have been written, and answered, since then as well as before it.
  for (const auto& op : ops_) {
    if (op->before_loss && op->answered() && op->written()) left.insert(*op->value);
  }
  answers_before_ = answers();
  std::erase_if(ops_, [](const auto& op) { return op->answered(); });
  // What is open may have been the last, or come yet.
  for (const auto& op : ops_) {
    op->before_loss = true;
    if (op->value) left.insert(*op->value);
  }
  first_ = std::move(left);
  return true;
}

std::size_t CellHistory::answers() const {
  return answers_before_ + static_cast<std::size_t>(std::ranges::count_if(
                               ops_, [](const auto& op) { return op->answered() && op->written(); }));
}

}  // namespace mpath::target::replication::test
