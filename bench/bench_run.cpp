#include "bench/bench_run.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <stdexcept>

namespace mpath::bench {
namespace {

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// CPU time of all threads of a process, from schedstat; nothing when it cannot be read.
std::optional<double> process_cpu_us(int pid) {
  std::error_code error;
  double sum = 0;
  bool any = false;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::ifstream file(task.path() / "schedstat");
    double ns = 0;
    if (file >> ns) {
      sum += ns / 1000;
      any = true;
    }
  }
  return any ? std::optional(sum) : std::nullopt;
}

// Of each; none when one of them cannot be read.
std::vector<double> processes_cpu_us(const std::vector<int>& pids) {
  std::vector<double> each;
  for (const int pid : pids) {
    if (const std::optional<double> us = process_cpu_us(pid)) each.push_back(*us);
  }
  if (each.size() != pids.size()) each.clear();
  return each;
}

}  // namespace

double own_cpu_us() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

void add_options(CLI::App& app, RunOptions& options) {
  static const std::map<std::string, Op> ops{
      {"read", Op::read}, {"write", Op::write}, {"mixed", Op::mixed}, {"randrw", Op::mixed}};
  app.add_option("--op", options.load.op, "read, write, or mixed (also randrw: 70 % reads)")
      ->transform(CLI::CheckedTransformer(ops));
  app.add_option("--size", options.load.size, "bytes per request (512, 4k, 1m)")->transform(CLI::AsSizeValue(false));
  app.add_option("--depth", options.load.depth, "requests in flight per connection")->check(CLI::Range(1, 65536));
  app.add_option("--connections", options.connections, "connections")->check(CLI::Range(1, 1024));
  app.add_option("--seconds", options.seconds, "how long")->check(CLI::PositiveNumber);
  app.add_option("--ios", options.ios, "how many requests, instead of a time");
  app.add_flag("--sequential", options.load.sequential, "offsets in order instead of random ones");
  app.add_flag("--json", options.json, "one JSON object");
}

Outcome run_load(const RunOptions& options, std::vector<std::unique_ptr<LoadClient>>& clients) {
  const std::vector<double> servers_before = processes_cpu_us(options.server_pids);
  const double client_before = own_cpu_us();
  const std::uint64_t begin = now_ns();
  const std::uint64_t end = begin + static_cast<std::uint64_t>(options.seconds * 1e9);
  for (const auto& client : clients) client->start(now_ns());

  std::uint64_t answered = 0;
  std::vector<pollfd> polled(clients.size());
  std::uint64_t in_flight = 1;
  while (in_flight > 0) {
    for (std::size_t i = 0; i < clients.size(); ++i) {
      const auto events = static_cast<short>(POLLIN | (clients[i]->want_write() ? POLLOUT : 0));
      polled[i] = {.fd = clients[i]->in_flight() > 0 ? clients[i]->fd() : -1, .events = events, .revents = 0};
    }
    if (::poll(polled.data(), polled.size(), 10'000) <= 0) throw std::runtime_error("no answer for 10 seconds");
    in_flight = 0;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (polled[i].revents != 0) {
        const std::uint64_t now = now_ns();
        const bool more = options.ios > 0 ? answered + options.load.depth * clients.size() < options.ios : now < end;
        answered += clients[i]->on_ready(now, more);
      }
      in_flight += clients[i]->in_flight();
    }
  }
  Outcome outcome;
  outcome.seconds = static_cast<double>(now_ns() - begin) / 1e9;
  outcome.client_us = own_cpu_us() - client_before;
  const std::vector<double> servers_after = processes_cpu_us(options.server_pids);
  for (std::size_t i = 0; i < servers_after.size() && i < servers_before.size(); ++i) {
    outcome.server_us.push_back(servers_after[i] - servers_before[i]);
  }
  return outcome;
}

void print_report(const RunOptions& options, const Totals& totals, const Outcome& outcome) {
  const auto count = static_cast<double>(totals.latency.total());
  const double iops = count / outcome.seconds;
  const double megabytes = iops * options.load.size / 1e6;
  const auto us = [&](double share) { return static_cast<double>(totals.latency.percentile(share)) / 1000; };
  const double server_us = std::accumulate(outcome.server_us.begin(), outcome.server_us.end(), 0.0);
  const double max_us = static_cast<double>(totals.latency.max()) / 1000;
  if (options.json) {
    nlohmann::json result{{"ios", totals.latency.total()},
                          {"errors", totals.errors},
                          {"seconds", outcome.seconds},
                          {"iops", iops},
                          {"mb_per_s", megabytes},
                          {"p50_us", us(0.5)},
                          {"p99_us", us(0.99)},
                          {"p999_us", us(0.999)},
                          {"max_us", max_us},
                          {"size", options.load.size},
                          {"depth", options.load.depth},
                          {"connections", options.connections},
                          {"client_cpu_us_per_io", outcome.client_us / count}};
    if (!outcome.server_us.empty()) {
      result["server_cpu_us_per_io"] = server_us / count;
      for (const double cpu_us : outcome.server_us) result["each_server_cpu_us_per_io"].push_back(cpu_us / count);
    }
    fmt::print("{}\n", result.dump());
    return;
  }
  fmt::print("{:.0f} IOPS  {:.1f} MB/s  p50 {:.1f} us  p99 {:.1f} us  p99.9 {:.1f} us  max {:.1f} us  errors {}\n",
             iops, megabytes, us(0.5), us(0.99), us(0.999), max_us, totals.errors);
  fmt::print("CPU per I/O: client {:.2f} us", outcome.client_us / count);
  if (!outcome.server_us.empty()) fmt::print(", server {:.2f} us", server_us / count);
  fmt::print("\n");
}

}  // namespace mpath::bench
