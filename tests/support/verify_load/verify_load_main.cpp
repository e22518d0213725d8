// verify_load: a load on an NBD server that knows what it must read back. See --help.
#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/system_clock.hpp"
#include "tests/support/verify_load/load.hpp"

namespace {

using namespace mpath;
using namespace mpath::verify;

enum Exit : int { good = 0, data_wrong = 1, usage = 2, not_finished = 3, too_slow = 4 };

VerifyLoad* running = nullptr;  // for the signal handlers, which only set a flag in it

double seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}
double ms(Duration d) {
  return seconds(d) * 1000;
}

std::string words(Duration d) {
  if (ms(d) < 10) return fmt::format("{:.1f} ms", ms(d));
  if (ms(d) < 1000) return fmt::format("{:.0f} ms", ms(d));
  return fmt::format("{:.2f} s", seconds(d));
}

// The timeline as it happens, on stdout.
class Narrator final : public LoadListener {
 public:
  Narrator(bool quiet, bool colour) : quiet_(quiet), colour_(colour) {}
  void begin(TimePoint now) { begin_ = now; }

  void on_mark(const Timeline& timeline) override {
    const Phase& phase = timeline.current();
    say(phase.begin, fmt::emphasis::bold, phase.name);
  }
  void on_stall(TimePoint now, Duration stall) override {
    say(now, fg(fmt::terminal_color::yellow), fmt::format("  no request completed for {}", words(stall)));
  }
  void on_fault(TimePoint now, const Fault& fault) override {
    if (++faults_ > faults_told_max) return;
    say(now, fg(fmt::terminal_color::red), fmt::format("  {}: block {} {}", name(fault.kind), fault.block, fault.text),
        true);
  }
  void on_error(TimePoint now, std::uint32_t nbd_error, std::uint64_t) override {
    say(now, fg(fmt::terminal_color::red), fmt::format("  the server answers with error {}", nbd_error));
  }
  void on_connection(TimePoint now, const std::string& text) override {
    say(now, fg(fmt::terminal_color::yellow), "  " + text);
  }
  void on_final_pass(TimePoint, std::uint64_t) override {}

 private:
  static constexpr unsigned faults_told_max = 20;

  void say(TimePoint now, fmt::text_style style, const std::string& text, bool always = false) {
    if (quiet_ && !always) return;
    fmt::print("{:8.3f} s  ", seconds(now - begin_));
    if (colour_) {
      fmt::print(style, "{}\n", text);
    } else {
      fmt::print("{}\n", text);
    }
    std::fflush(stdout);
  }

  bool quiet_;
  bool colour_;
  unsigned faults_ = 0;
  TimePoint begin_{};
};

void print_phases(const Timeline& timeline) {
  fmt::print("\n{:<34} {:>8} {:>8} {:>14} {:>16} {:>9}\n", "phase", "seconds", "IOPS", "longest stall",
             "slowest request", "p99");
  for (const Phase& phase : timeline.phases()) {
    const double length = seconds(phase.end - phase.begin);
    if (phase.completions == 0 && length < 0.001) continue;
    fmt::print("{:<34} {:>8.2f} {:>8.0f} {:>14} {:>16} {:>9}\n", phase.name, length,
               length > 0 ? static_cast<double>(phase.completions) / length : 0.0, words(phase.longest_stall),
               words(phase.slowest), words(phase.latency.percentile(0.99)));
  }
}

nlohmann::json to_json(const Timeline& timeline, const LoadResult& result, int exit_code) {
  nlohmann::json phases = nlohmann::json::array();
  for (const Phase& phase : timeline.phases()) {
    phases.push_back({{"name", phase.name},
                      {"begin_s", seconds(phase.begin - timeline.begin())},
                      {"seconds", seconds(phase.end - phase.begin)},
                      {"completions", phase.completions},
                      {"errors", phase.errors},
                      {"longest_stall_ms", ms(phase.longest_stall)},
                      {"slowest_request_ms", ms(phase.slowest)},
                      {"p50_ms", ms(phase.latency.percentile(0.50))},
                      {"p99_ms", ms(phase.latency.percentile(0.99))},
                      {"p999_ms", ms(phase.latency.percentile(0.999))}});
  }
  nlohmann::json faults = nlohmann::json::array();
  for (const Fault& fault : result.faults) {
    faults.push_back({{"kind", name(fault.kind)}, {"block", fault.block}, {"text", fault.text}});
  }
  return {{"exit", exit_code},
          {"end", result.end == LoadEnd::complete ? "complete" : result.why},
          {"acknowledged", result.acked},
          {"verified", result.verified},
          {"writes", result.writes},
          {"reads", result.reads},
          {"flushes", result.flushes},
          {"errors", result.errors},
          {"unanswered", result.unanswered},
          {"reconnects", result.reconnects},
          {"checked_in_file", result.blocks_checked_in_file},
          {"longest_stall_ms", ms(timeline.longest_stall())},
          {"slowest_request_ms", ms(timeline.slowest())},
          {"faults", faults},
          {"phases", phases}};
}

int judge(const LoadResult& result, const Timeline& timeline, double max_stall_ms) {
  if (!result.faults.empty()) return data_wrong;
  if (result.end != LoadEnd::complete) return not_finished;
  if (result.acked != result.verified) return data_wrong;
  if (max_stall_ms > 0 && ms(timeline.longest_stall()) > max_stall_ms) return too_slow;
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  LoadOptions options;
  double duration_s = 10, reconnect_s = 0, hang_s = 60, max_stall_ms = 0;
  std::uint64_t area_mib = 0;
  std::string json_file, tcp;
  bool quiet = false, use_stdin = false;

  CLI::App app{
      "Writes stamped 4 KiB blocks to an NBD export, reads acknowledged ones back all the time and all of them at the "
      "end.\n"
      "Exit status: 0 nothing lost or wrong, 1 lost or wrong data, 2 usage or no connection, 3 errors, hang or lost\n"
      "connection, 4 a stall longer than --max-stall. SIGUSR1 sets a mark, SIGINT and SIGTERM end the load early."};
  auto* unix_option = app.add_option("--unix", options.address.unix_path, "unix socket of the server");
  app.add_option("--tcp", tcp, "ADDRESS:PORT of the server (numeric)")->excludes(unix_option);
  app.add_option("--export", options.address.export_name, "export name (default: the empty one)");
  app.add_option("--seconds", duration_s, "length of the load; 0: until told to stop");
  app.add_option("--connections", options.connections, "NBD connections")->check(CLI::Range(1, 64));
  app.add_option("--depth", options.depth, "requests in flight per connection")->check(CLI::Range(1, 1024));
  app.add_option("--area", area_mib, "MiB from the start of the volume; 0: all of it");
  app.add_option("--write-percent", options.write_percent, "share of writes")->check(CLI::Range(1, 100));
  app.add_flag("--durable", options.durable, "a write counts as answered when it had FUA, or was flushed");
  app.add_option("--rate", options.requests_per_second, "requests per second; 0: as fast as it goes");
  app.add_option("--seed", options.seed, "seed of the random choices");
  app.add_flag("--tolerate-errors", options.tolerate_errors, "count errors of the server and go on");
  app.add_option("--reconnect", reconnect_s, "seconds to try when a connection is lost; 0: give up at once");
  app.add_option("--hang-limit", hang_s, "seconds without any completion until giving up");
  app.add_option("--max-stall", max_stall_ms, "fail with 4 when a stall was longer, in milliseconds; 0: any will do");
  app.add_option("--status", options.status_file, "file that always holds the present counts, key=value");
  app.add_option("--backing-file", options.backing_file, "file of the target, read as well at the end");
  app.add_option("--json", json_file, "write the result here; - for stdout (then nothing else is printed)");
  app.add_flag("--stdin", use_stdin, "take `mark TEXT` and `stop` from stdin");
  app.add_flag("--quiet", quiet, "print the result only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? good : usage;
  }
  if (!tcp.empty()) {
    const std::size_t colon = tcp.rfind(':');
    options.address.host = tcp.substr(0, colon);
    if (colon != std::string::npos)
      options.address.port = static_cast<std::uint16_t>(std::atoi(tcp.c_str() + colon + 1));
  } else if (options.address.unix_path.empty()) {
    fmt::print(stderr, "verify_load: --unix PATH or --tcp ADDRESS:PORT is needed\n");
    return usage;
  }
  const auto to_duration = [](double s) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
  };
  options.duration = duration_s <= 0 ? Duration::max() : to_duration(duration_s);
  options.reconnect = to_duration(reconnect_s);
  options.hang_limit = to_duration(hang_s);
  options.area_bytes = area_mib << 20;
  if (use_stdin) options.control_fd = STDIN_FILENO;

  boost::asio::io_context context;  // never run: the clock wants one for its alarms
  SystemClock clock(context);
  const bool colour = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  Narrator narrator(quiet || json_file == "-", colour);
  VerifyLoad load(options, clock, narrator);
  if (const error_code failed = load.open()) {
    const std::string where = tcp.empty() ? options.address.unix_path : tcp;
    fmt::print(stderr, "verify_load: {}: {}\n", where, failed.message());
    return usage;
  }
  running = &load;
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGUSR1, [](int) { running->ask_mark(); });
  std::signal(SIGINT, [](int) { running->ask_stop(); });
  std::signal(SIGTERM, [](int) { running->ask_stop(); });
  narrator.begin(clock.now());

  const LoadResult result = load.run();
  const Timeline& timeline = load.timeline();
  const int exit_code = judge(result, timeline, max_stall_ms);
  if (!json_file.empty()) {
    const std::string text = to_json(timeline, result, exit_code).dump(2);
    if (json_file == "-") {
      fmt::print("{}\n", text);
      return exit_code;
    }
    std::ofstream(json_file) << text << '\n';
  }
  if (!quiet) print_phases(timeline);
  fmt::print("\n{} writes acknowledged, {} verified", result.acked, result.verified);
  if (result.blocks_checked_in_file != 0) fmt::print(" (and once more in the target's own file)");
  fmt::print("\nlongest stall {}, slowest request {}\n", words(timeline.longest_stall()), words(timeline.slowest()));
  if (result.errors != 0) fmt::print("{} requests were answered with an error\n", result.errors);
  if (result.reconnects != 0)
    fmt::print("{} reconnects, {} requests without an answer\n", result.reconnects, result.unanswered);
  if (!result.faults.empty()) fmt::print("{} blocks are lost or wrong\n", result.faults.size());
  if (result.end != LoadEnd::complete) fmt::print("not finished: {}\n", result.why);
  return exit_code;
}
