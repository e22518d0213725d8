#include "tests/support/pair_sim/pair.hpp"

#include "tests/support/pair_sim/machine.hpp"

namespace mpath::target::replication::test {

Pair::Pair(const SimOptions& wanted) : options(wanted), world(wanted.seed, wanted.trace) {
  for (const Member member : everybody) {
    machines[static_cast<std::size_t>(member)] = std::make_unique<Machine>(*this, member);
  }
}

Pair::~Pair() = default;

void Pair::learned(const View& view) {
  switch (views.learned(view)) {
    case ViewLog::News::known:
      return;
    case ViewLog::News::contradicts:
      return world.violated(
          fmt::format("view {} is both {} and {}", view.number, format_view(views.at(view.number)), format_view(view)));
    case ViewLog::News::does_not_follow:
      return world.violated(fmt::format("{} follows {}", format_view(view), format_view(views.at(view.number - 1))));
    case ViewLog::News::decided:
      break;
  }
  world.note("decided {}", format_view(view));
  // Whoever was about to be the only holder may lose power before anybody knows that it is.
  if (views.was_proposed_soundly(view)) lost_memory(view);
}

// What a majority has voted for is decided, before anybody knows.
View Pair::view_in_truth() {
  for (const auto& one : machines) {
    for (const auto& other : machines) {
      const auto& vote = one->record().accepted;
      if (one != other && vote && vote == other->record().accepted && vote->view.number == views.highest().number + 1) {
        return vote->view;
      }
    }
  }
  return views.highest();
}

void Pair::lost_memory(const View& view) {
  for (const Member member : {Member::a, Member::b}) {
    if (view.in_sync.has(member) && !at(member).suspect()) return;
  }
  history.total_loss();
  world.note("nobody holds everything any more");
}

}  // namespace mpath::target::replication::test
