// The invariants of INVARIANTS.md, over seeds; and that the simulator would notice if they did not hold.
#include "tests/support/pair_sim/pair_sim.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace mpath::target::replication::test {
namespace {

// A tree of sanitizers, which does not optimise, looks for their findings; the optimised one looks at the promises.
#ifdef __OPTIMIZE__
constexpr std::uint64_t seeds = 300;
#else
constexpr std::uint64_t seeds = 10;
#endif

std::string tell(const SimOptions& options, const SimResult& result) {
  return fmt::format("seed {}: {}\n  {}", options.seed, result.violation, fmt::join(result.trace, "\n  "));
}

struct Setting {
  std::string name;
  bool witness;
  PeerLoss on_peer_loss;
};

class PairSim : public testing::TestWithParam<Setting> {};

TEST_P(PairSim, KeepsItsPromises) {
  SimResult sum;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const SimOptions options{.seed = seed, .witness = GetParam().witness, .on_peer_loss = GetParam().on_peer_loss};
    const SimResult result = simulate(options);
    ASSERT_EQ(result.violation, "") << tell(options, result);
    sum.writes_acknowledged += result.writes_acknowledged;
    sum.reads_answered += result.reads_answered;
    sum.takeovers += result.takeovers;
  }
  // It did what it is about.
  EXPECT_GT(sum.writes_acknowledged, 150 * seeds);
  EXPECT_GT(sum.reads_answered, 300 * seeds);
  EXPECT_GT(sum.takeovers, seeds / 2);
}

INSTANTIATE_TEST_SUITE_P(, PairSim,
                         testing::Values(Setting{"witness", true, PeerLoss::freeze},
                                         Setting{"freeze", false, PeerLoss::freeze},
                                         Setting{"fence", false, PeerLoss::fence}),
                         [](const auto& row) { return row.param.name; });

#ifdef __OPTIMIZE__
class PlantedBug : public testing::TestWithParam<Bug> {};

TEST_P(PlantedBug, IsFound) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    if (!simulate({.seed = seed, .bug = GetParam()}).violation.empty()) return;
  }
  FAIL() << "no seed of 1000 shows it";
}

INSTANTIATE_TEST_SUITE_P(, PlantedBug, testing::ValuesIn(bugs),
                         [](const auto& row) { return std::string(name(row.param)); });
#endif

}  // namespace
}  // namespace mpath::target::replication::test
