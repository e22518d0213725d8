// Many seeds of the pair's simulator, on all cores, until they are done or the time is over.
//
//   pair_sim --seeds 250000 --progress 60         all settings and protocols in turn, so many seeds of each
//   pair_sim --new-seeds --seconds 180            seeds that nobody has seen, for three minutes
//   pair_sim --setting witness --protocol a --from 17 --seeds 1 --trace
//
// No seed is used twice. A violation is told at once, with the words that show it again.
// Exit status: 0 when every seed kept the promises; 1 when one did not; 2 when nothing was tried.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cctype>
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
  std::string setting;   // empty: all
  std::string protocol;  // likewise
  std::uint64_t from = 1;
  std::uint64_t seeds = 1000;  // of each setting and protocol
  double seconds = 0;          // 0: no limit
  double progress = 0;         // seconds between two reports; 0: none
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  bool trace = false;
  Bug bug = Bug::none;
};

constexpr Protocol protocols[] = {Protocol::c, Protocol::b, Protocol::a};

std::string word_of(Protocol protocol) {
  return {static_cast<char>(std::tolower(letter(protocol)))};
}

// What came of the seeds of one setting with one protocol.
struct Tally {
  const Setting* setting = nullptr;
  Protocol protocol = Protocol::c;
  std::uint64_t first_seed = 0;
  std::uint64_t seeds = 0, violations = 0;
  SimResult sum;
};

class Run {
 public:
  explicit Run(const Wanted& wanted) : wanted_(wanted) {
    for (const Protocol protocol : protocols) {
      if (!wanted.protocol.empty() && wanted.protocol != word_of(protocol)) continue;
      for (const Setting& setting : settings) {
        if (!wanted.setting.empty() && wanted.setting != setting.name) continue;
        tallies_.push_back(
            {.setting = &setting, .protocol = protocol, .first_seed = wanted.from + tallies_.size() * wanted.seeds});
      }
    }
  }

  int run() {
    std::vector<std::jthread> threads;
    for (unsigned job = 1; job < wanted_.jobs; ++job) threads.emplace_back([this] { work(); });
    work();
    threads.clear();
    report();
    const bool tried =
        std::ranges::all_of(tallies_, [](const Tally& tally) { return tally.sum.writes_acknowledged > 0; });
    const bool kept = std::ranges::all_of(tallies_, [](const Tally& tally) { return tally.violations == 0; });
    if (!kept) return 1;
    if (!tried) fmt::print("too little was tried to say anything\n");
    return tried ? 0 : 2;
  }

 private:
  [[nodiscard]] double passed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

  // The settings take turns, so that each has its share whenever it ends.
  void work() {
    const std::uint64_t all = wanted_.seeds * tallies_.size();
    for (std::uint64_t turn = next_++; turn < all; turn = next_++) {
      if (wanted_.seconds > 0 && passed() >= wanted_.seconds) return;
      Tally& tally = tallies_[turn % tallies_.size()];
      SimOptions options = tally.setting->options;
      options.seed = tally.first_seed + turn / tallies_.size();
      options.protocol = tally.protocol;
      options.bug = wanted_.bug;
      options.trace = wanted_.trace;
      const SimResult result = simulate(options);
      const std::scoped_lock lock(mutex_);
      note(tally, options.seed, result);
    }
  }

  void note(Tally& tally, std::uint64_t seed, const SimResult& result) {
    ++tally.seeds;
    tally.sum.add(result);
    if (!result.violation.empty()) {
      ++tally.violations;
      fmt::print("VIOLATION --setting {} --protocol {} --from {} --seeds 1: {}\n", tally.setting->name,
                 word_of(tally.protocol), seed, result.violation);
      std::fflush(stdout);
    }
    if (wanted_.trace) fmt::print("{}\n", fmt::join(result.trace, "\n"));
    if (wanted_.progress > 0 && passed() >= reported_ + wanted_.progress) {
      reported_ = passed();
      report();
    }
  }

  void report() {
    std::uint64_t seeds = 0;
    for (const Tally& tally : tallies_) {
      const SimResult& sum = tally.sum;
      seeds += tally.seeds;
      fmt::print(
          "{:>8} {}: {} seeds from {}, {} writes, {} compares, {} states, {} flushes acknowledged, {} reads, "
          "{} takeovers, {} writes lost, {} kills, {} power cuts, {} failed disks, {} splits, {} events, "
          "{} violations\n",
          tally.setting->name, letter(tally.protocol), tally.seeds, tally.first_seed, sum.writes_acknowledged,
          sum.compares, sum.states_acknowledged, sum.flushes, sum.reads_answered, sum.takeovers, sum.lost, sum.kills,
          sum.power_cuts, sum.failed_disks, sum.splits, sum.events, tally.violations);
    }
    fmt::print("{} seeds in {:.0f} s: {:.0f} a second\n", seeds, passed(), static_cast<double>(seeds) / passed());
    std::fflush(stdout);
  }

  const Wanted wanted_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::atomic<std::uint64_t> next_ = 0;
  std::mutex mutex_;
  std::vector<Tally> tallies_;
  double reported_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Wanted wanted;
  std::vector<std::string> names;
  for (const Setting& setting : settings) names.emplace_back(setting.name);
  std::map<std::string, Bug> known;
  for (const Planted& each : bugs) known.emplace(name(each.bug), each.bug);
  std::string bug;
  bool new_seeds = false;
  CLI::App app("Runs the simulator of a fail-over pair over many seeds", "pair_sim");
  app.add_option("--setting", wanted.setting, "one of them; all without it")->check(CLI::IsMember(names));
  app.add_option("--protocol", wanted.protocol, "a, b or c; all without it")->check(CLI::IsMember({"a", "b", "c"}));
  auto* const from = app.add_option("--from", wanted.from, "the first seed of the first of them");
  app.add_flag("--new-seeds", new_seeds, "begin at a seed made of the date")->excludes(from);
  auto* const seeds = app.add_option("--seeds", wanted.seeds, "how many, of each setting and protocol");
  app.add_option("--seconds", wanted.seconds, "stop after that long");
  app.add_option("--progress", wanted.progress, "seconds between two reports");
  app.add_option("--jobs", wanted.jobs, "threads")->check(CLI::Range(1, 1024));
  app.add_option("--bug", bug, "plants one: the simulator should find it")->check(CLI::IsMember(known));
  app.add_flag("--trace", wanted.trace, "print the last events of each seed");
  CLI11_PARSE(app, argc, argv);
  if (wanted.seconds > 0 && seeds->count() == 0) wanted.seeds = 100'000'000;
  if (!bug.empty()) wanted.bug = known.at(bug);
  if (new_seeds) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    wanted.from =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()) * 1'000'000'000;
  }
  return Run(wanted).run();
}
