#include "tests/support/pair_sim/pair.hpp"

#include "tests/support/pair_sim/machine.hpp"

namespace mpath::target::replication::test {

Pair::Pair(const SimOptions& wanted) : options(wanted), world(wanted.seed, wanted.trace) {
  for (const Member member : everybody) {
    machines[static_cast<std::size_t>(member)] = std::make_unique<Machine>(*this, member);
  }
}

Pair::~Pair() = default;

void Pair::learned(Member who, const View& view) {
  // Until the other has it on its medium, its own vote may decide otherwise after a restart.
  if (forked_at_ && !split_ && who != forked_at_->primary && at(who).record().decided.number >= forked_at_->number) {
    history.join(forked_at_->primary);
    forked_at_.reset();
  }
  const auto news = views.learned(view);
  if (news == ViewLog::News::known || (split_ && news == ViewLog::News::contradicts)) return;
  if (news == ViewLog::News::does_not_follow)
    return world.violated(fmt::format("{} follows {}", format_view(view), format_view(views.at(view.number - 1))));
  world.note("decided {}", format_view(view));
  if (news == ViewLog::News::contradicts) {
    // Each of them for itself, at the same number, and for want of the other.
    const bool excused = parted && forked_at_ && forked_at_->number == view.number && view.in_sync.only(view.primary) &&
                         forked_at_->in_sync.only(forked_at_->primary) && view.primary != forked_at_->primary;
    if (!excused) {
      return world.violated(
          fmt::format("view {} is both {} and {}", view.number, format_view(views.at(view.number)), format_view(view)));
    }
    split_ = true;
    ++result.splits;
    world.note("the pair is split");
  } else {
    fork(view);
  }
  // Whoever was about to be the only holder may lose power before anybody knows that it is.
  if (views.was_proposed_soundly(view)) lost_memory(view);
}

// What is answered under a view that only its primary may know of.
void Pair::fork(const View& view) {
  if (!may_split() || !view.in_sync.only(view.primary)) return;
  history.fork();
  forked_at_ = view;
}

bool Pair::at_old_view(Member member) {
  return forked_at_ && at(member).fsm()->view().number < forked_at_->number;
}

bool Pair::split_is_found() {
  const auto knows = [this](Member node) { return at(node).fsm() != nullptr && at(node).fsm()->split(); };
  return split_ && knows(Member::a) && knows(Member::b);
}

void Pair::resolve_split(Member kept) {
  world.note("an administrator keeps what {} has", name(kept));
  const Member other = peer_of(kept);
  history.join(kept);
  views.keep(at(kept).record().decided);
  forked_at_.reset();
  split_ = false;
  at(other).join_anew();
}

void Pair::kill_both(Member first) {
  at(first).stop(false);
  world.after(std::chrono::milliseconds(world.roll(400)), [this, first] {
    if (mended) return;
    at(peer_of(first)).stop(world.chance(50));
    if (!world.up(first) && fenced != first) at(first).start();
  });
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

void Pair::lost_memory() {
  if (!forked_at_) return lost_memory(view_in_truth());
  // Each is the only holder of what is its own.
  for (const Member member : {Member::a, Member::b}) {
    if (at(member).suspect()) lose(history.side(member));
  }
}

void Pair::lost_memory(const View& view) {
  for (const Member member : {Member::a, Member::b}) {
    if (view.in_sync.has(member) && !at(member).suspect()) return;
  }
  lose(history.side(view.primary));
  world.note("nobody holds everything any more");
}

void Pair::lose(History& side) {
  side.total_loss();
  if (!cell_history.total_loss() && result.splits == 0) world.violated("the cell was no register");
}

}  // namespace mpath::target::replication::test
