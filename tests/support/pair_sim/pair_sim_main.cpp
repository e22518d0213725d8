// Many seeds of the pair's simulator, on all cores, until they are done or the time is over.
//
//   pair_sim --seeds 1000000                      all settings, a million seeds each
//   pair_sim --setting witness --from 17 --seeds 1 --trace
#include <fmt/format.h>

#include <unistd.h>
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/pair_sim/pair_sim.hpp"

namespace {

using namespace mpath::target::replication;
using namespace mpath::target::replication::test;

struct Wanted {
  std::string setting;  // empty: all
  std::uint64_t from = 1;
  std::uint64_t seeds = 1000;
  double seconds = 0;  // 0: no limit
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  bool trace = false;
};

struct Tally {
  std::mutex mutex;
  std::uint64_t seeds = 0, writes = 0, reads = 0, states = 0, takeovers = 0, kills = 0, power_cuts = 0, disks = 0,
                splits = 0, events = 0;
  std::vector<std::pair<std::uint64_t, std::string>> violations;
};

// Returns whether every seed kept the promises.
bool run(const Wanted& wanted, const std::string& name, SimOptions options) {
  Tally tally;
  std::atomic<std::uint64_t> next = wanted.from;
  const auto begin = std::chrono::steady_clock::now();
  const auto over = [&] {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    return wanted.seconds > 0 && passed.count() >= wanted.seconds;
  };
  const auto work = [&] {
    for (std::uint64_t seed = next++; seed < wanted.from + wanted.seeds && !over(); seed = next++) {
      SimOptions mine = options;
      mine.seed = seed;
      mine.trace = wanted.trace;
      const SimResult result = simulate(mine);
      const std::scoped_lock lock(tally.mutex);
      ++tally.seeds;
      tally.writes += result.writes_acknowledged;
      tally.reads += result.reads_answered;
      tally.states += result.states_acknowledged;
      tally.disks += result.failed_disks;
      tally.takeovers += result.takeovers;
      tally.kills += result.kills;
      tally.power_cuts += result.power_cuts;
      tally.splits += result.splits;
      tally.events += result.events;
      if (!result.violation.empty()) tally.violations.emplace_back(seed, result.violation);
      if (wanted.trace) fmt::print("{}\n", fmt::join(result.trace, "\n"));
      if (tally.seeds % 100 == 0 && ::isatty(STDERR_FILENO) != 0) {
        fmt::print(stderr, "\r{:>8} {:3} %  {} violations ", name, 100 * tally.seeds / wanted.seeds,
                   tally.violations.size());
      }
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned job = 1; job < wanted.jobs; ++job) threads.emplace_back(work);
  work();
  threads.clear();
  fmt::print(
      "{:>8}: {} seeds, {} writes and {} states acknowledged, {} reads, {} takeovers, {} kills, {} power cuts, "
      "{} failed disks, {} splits, {} events, {} violations\n",
      name, tally.seeds, tally.writes, tally.states, tally.reads, tally.takeovers, tally.kills, tally.power_cuts,
      tally.disks, tally.splits, tally.events, tally.violations.size());
  for (const auto& [seed, what] : tally.violations) fmt::print("  seed {}: {}\n", seed, what);
  return tally.violations.empty();
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, SimOptions> settings{
      {"witness", {.witness = true}},
      {"freeze", {.witness = false, .on_peer_loss = PeerLoss::freeze}},
      {"fence", {.witness = false, .on_peer_loss = PeerLoss::fence}},
      {"continue", {.witness = false, .on_peer_loss = PeerLoss::proceed}},
  };
  Wanted wanted;
  CLI::App app("Runs the simulator of a fail-over pair over many seeds", "pair_sim");
  app.add_option("--setting", wanted.setting, "witness, freeze, fence or continue; all of them without it")
      ->check(CLI::IsMember({"witness", "freeze", "fence", "continue"}));
  app.add_option("--from", wanted.from, "the first seed");
  app.add_option("--seeds", wanted.seeds, "how many");
  app.add_option("--seconds", wanted.seconds, "stop after that long, for each setting");
  app.add_option("--jobs", wanted.jobs, "threads")->check(CLI::Range(1, 1024));
  std::string bug;
  std::map<std::string, Bug> known;
  for (const Bug each : bugs) known.emplace(name(each), each);
  app.add_option("--bug", bug, "plants one: the simulator should find it")->check(CLI::IsMember(known));
  app.add_flag("--trace", wanted.trace, "print the last events of each seed");
  CLI11_PARSE(app, argc, argv);
  bool kept = true;
  for (auto [setting, options] : settings) {
    if (!bug.empty()) options.bug = known.at(bug);
    if (wanted.setting.empty() || wanted.setting == setting) kept = run(wanted, setting, options) && kept;
  }
  return kept ? 0 : 1;
}
