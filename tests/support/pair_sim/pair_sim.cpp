#include "tests/support/pair_sim/pair_sim.hpp"

#include <utility>

#include "tests/support/pair_sim/clients.hpp"
#include "tests/support/pair_sim/machine.hpp"
#include "tests/support/pair_sim/mischief.hpp"
#include "tests/support/pair_sim/pair.hpp"

namespace mpath::target::replication::test {
namespace {

using std::chrono::seconds;

constexpr Duration whole_within = seconds(60);
constexpr Duration look_pause = std::chrono::milliseconds(500);
// With clients; longer than a fence handler may take that was asked before.
constexpr Duration healthy_time = seconds(3);
constexpr Duration meeting_time = seconds(4);  // longer than a node may be paused
constexpr Duration last_answers = seconds(5);  // without

class Sim {
 public:
  explicit Sim(const SimOptions& options) : pair_(options) {}

  SimResult run() {
    for (const Member member : everybody) {
      if (pair_.takes_part(member)) pair_.at(member).start();
    }
    clients_.start();
    mischief_.start();
    run_for(pair_.options.storm);
    if (pair_.world.violation().empty()) mischief_.mend();
    if (pair_.world.violation().empty()) become_whole();
    if (pair_.world.violation().empty()) check_end();
    SimResult& result = pair_.result;
    result.violation = pair_.world.violation();
    result.trace = pair_.world.trace();
    result.events = pair_.world.events();
    result.views = pair_.views.size();
    result.compares = pair_.cell_history.answers();
    result.takeovers = pair_.views.takeovers();
    result.lost = pair_.history.side(Member::a).lost;
    return std::move(result);
  }

 private:
  void run_for(Duration duration) {
    pair_.world.run_until(pair_.world.now() + duration, [this] { check_always(); });
  }

  // With everything mended one node serves soon, and both hold the same after a while.
  void become_whole() {
    World& world = pair_.world;
    const TimePoint latest = world.now() + whole_within;
    find_split();
    while (world.violation().empty() && world.now() < latest) {
      if (!whole()) {
        run_for(look_pause);
        continue;
      }
      run_for(healthy_time);
      if (whole()) return;
    }
  }
  // What was split is found when the nodes meet: neither serves, each says why. Then an administrator chooses.
  void find_split() {
    World& world = pair_.world;
    if (pair_.may_split()) run_for(meeting_time);
    if (!pair_.split()) return;
    for (const Member member : {Member::a, Member::b}) {
      const Machine& node = pair_.at(member);
      if (!node.fsm()->split() || node.serves() || node.fsm()->waits_for(node.local()).empty())
        world.violated(fmt::format("{} does not know that the pair is split", name(member)));
    }
    if (world.violation().empty()) pair_.resolve_split(world.chance(50) ? Member::a : Member::b);
  }
  [[nodiscard]] bool whole() {
    return pair_.at(Member::a).up() && pair_.at(Member::b).up() && pair_.views.highest().in_sync.size() == 2 &&
           pair_.at(Member::a).serves() != pair_.at(Member::b).serves();
  }

  void check_always() {
    const auto answers = [this](Member node) { return pair_.at(node).serves() && !pair_.world.paused(node); };
    if (answers(Member::a) && answers(Member::b) && !pair_.split()) pair_.world.violated("two nodes serve");
    if (pair_.options.protocol == Protocol::a) {
      for (const Member node : {Member::a, Member::b}) {
        if (pair_.at(node).serves()) check_early(node);
      }
    }
  }

  // What a takeover may lose, and has lost.
  void check_early(Member node) {
    History& side = pair_.history.side(node);
    const Member other = peer_of(node);
    const std::vector<BlockBytes>& there = pair_.at(other).media().disk.cached;
    if (std::exchange(side.server, node) == node) {
      if (!pair_.views.highest().in_sync.has(other)) return;
      return side.settle_risk([&](std::size_t block, std::uint64_t value) { return value_of(there[block]) == value; });
    }
    std::vector<std::uint64_t> values;
    for (std::size_t block = 0; block < blocks; ++block) {
      values.push_back(value_of(pair_.at(node).media().disk.cached[block]));
    }
    const View& view = pair_.at(node).fsm()->view();
    const bool handed_over = view.in_sync.size() == 2;
    const std::string wrong = side.taken_over(values, handed_over ? 0 : early_blocks_max);
    if (!wrong.empty()) pair_.world.violated(fmt::format("{} has taken over: {}", name(node), wrong));
  }

  void check_end() {
    World& world = pair_.world;
    clients_.finish();
    run_for(last_answers);
    int serving = 0;
    for (const Member member : {Member::a, Member::b}) {
      const Machine& node = pair_.at(member);
      if (node.fsm() == nullptr) continue;
      if (node.serves()) ++serving;
      world.note("{} at {} waits for: {}", name(member), format_view(node.fsm()->view()),
                 node.fsm()->waits_for(node.local()));
    }
    if (serving != 1) world.violated(fmt::format("{} nodes serve after everything was mended", serving));
    if (pair_.views.highest().in_sync.size() != 2) world.violated("the pair is not whole after everything was mended");
    Machine& a = pair_.at(Member::a);
    Machine& b = pair_.at(Member::b);
    for (std::size_t block = 0; block <= cell; ++block) {
      const BlockBytes& here = a.media().disk.cached[block];
      const BlockBytes& there = b.media().disk.cached[block];
      if (here != there)
        world.violated(fmt::format("block {} differs: {} and {}", block, value_of(here), value_of(there)));
    }
    // A pair that was split had two.
    if (pair_.result.splits == 0 && !pair_.cell_history.is_register()) world.violated("the cell was no register");
    if (a.copy() == nullptr || b.copy() == nullptr || a.copy()->state() != b.copy()->state())
      world.violated("the SCSI states differ");
  }

  Pair pair_;
  Clients clients_{pair_};
  Mischief mischief_{pair_};
};

}  // namespace

const char* name(Bug bug) {
  switch (bug) {
    case Bug::none:
      return "none";
    case Bug::ack_before_peer:
      return "ack_before_peer";
    case Bug::skip_outdating:
      return "skip_outdating";
    case Bug::ignore_lease:
      return "ignore_lease";
    case Bug::forget_votes:
      return "forget_votes";
    case Bug::trust_lost_memory:
      return "trust_lost_memory";
    case Bug::lose_dirty_map:
      return "lose_dirty_map";
    case Bug::dirty_reads:
      return "dirty_reads";
    case Bug::compare_apart:
      return "compare_apart";
    case Bug::flush_apart:
      return "flush_apart";
    case Bug::disordered_stream:
      return "disordered_stream";
    case Bug::wide_window:
      return "wide_window";
    case Bug::hasty_receipt:
      return "hasty_receipt";
    case Bug::trust_killed_follower:
      return "trust_killed_follower";
  }
  return "?";
}

void SimResult::add(const SimResult& other) {
  for (const auto figure :
       {&SimResult::writes_acknowledged, &SimResult::reads_answered, &SimResult::states_acknowledged, &SimResult::views,
        &SimResult::events, &SimResult::takeovers, &SimResult::power_cuts, &SimResult::kills, &SimResult::failed_disks,
        &SimResult::splits, &SimResult::compares, &SimResult::flushes, &SimResult::lost}) {
    this->*figure += other.*figure;
  }
}

SimResult simulate(const SimOptions& options) {
  SimResult result = Sim(options).run();
  // The same once more, told in lines.
  if (!result.violation.empty() && !options.trace) {
    SimOptions told = options;
    told.trace = true;
    return Sim(told).run();
  }
  return result;
}

}  // namespace mpath::target::replication::test
