// One run of a load generator: all clients on one thread, time or number of requests, and the figures at the end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/bench_load.hpp"

namespace mpath::bench {

struct RunOptions {
  Load load;
  std::uint32_t connections = 1;
  double seconds = 5;
  std::uint64_t ios = 0;         // 0: by time
  std::vector<int> server_pids;  // whose CPU is reported, summed and each
  bool json = false;
};

struct Outcome {
  double seconds = 0;
  double client_us = 0;
  std::vector<double> server_us;  // of each process that was asked for; none when one cannot be read
};

// The options that all load generators take.
void add_options(CLI::App& app, RunOptions& options);
[[nodiscard]] double own_cpu_us();  // of all threads of this process
[[nodiscard]] Outcome run_load(const RunOptions& options, std::vector<std::unique_ptr<LoadClient>>& clients);
void print_report(const RunOptions& options, const Totals& totals, const Outcome& outcome);

}  // namespace mpath::bench
