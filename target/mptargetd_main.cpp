// mptargetd: parse options, build the daemon, run until told to stop.
#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <ctime>

#include "base/instance_lock.hpp"
#include "base/system_clock.hpp"
#include "target/daemon.hpp"
#include "target/mptargetd_options.hpp"
#include "target/witness_runner.hpp"

namespace mpath::target {
namespace {

// Microseconds of the monotonic clock, as systemd compares reload requests with.
std::uint64_t monotonic_usec() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(steady_now().time_since_epoch()).count());
}

class Runner {
 public:
  Runner(boost::asio::io_context& control, TargetDaemon& daemon, const MptargetdArguments& arguments, const Log& log)
      : control_(control),
        daemon_(daemon),
        arguments_(arguments),
        log_(log),
        signals_(control, SIGTERM, SIGINT, SIGHUP) {}

  int run() {
    daemon_.on_shutdown = [this] { boost::asio::post(control_, [this] { begin_stop("shutdown was commanded"); }); };
    wait_for_signal();
    boost::asio::co_spawn(control_, daemon_.start(), [this](const std::exception_ptr& exception, error_code error) {
      if (exception) std::rethrow_exception(exception);
      started_ = true;
      // What stands on the command line is there to be served, or there is nothing to do.
      if (error || (!arguments_.units.empty() && daemon_.units().any_offline())) status_ = 1;
      if (status_ != 0 || stop_wanted_) return stop_now();
      ::sd_notifyf(0, "READY=1\nSTATUS=serving\nMAINPID=%d", static_cast<int>(::getpid()));
      log_.notice("started version={}", MPTARGETD_VERSION);
      if (!arguments_.units.empty()) tell_how_to_connect();
      start_watchdog();
    });
    control_.run();
    return status_;
  }

 private:
  void tell_how_to_connect() const {
    const auto portals = daemon_.listening();
    if (portals.empty()) return;
    const std::string address = format_portal(portals.front());
    fmt::print("iscsi://{0}/{1}/0   mpathadm -m discovery -t st -p {0} --login\n", address, target_name_of(arguments_));
    std::fflush(stdout);
  }

  void wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal != SIGHUP) return begin_stop("signal");
      if (started_) reload();
      wait_for_signal();
    });
  }

  void reload() {
    ::sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", static_cast<unsigned long long>(monotonic_usec()));
    using Answer = Outcome<std::vector<std::string>>;
    boost::asio::co_spawn(control_, daemon_.reload(), [](const std::exception_ptr& exception, const Answer&) {
      if (exception) std::rethrow_exception(exception);
      ::sd_notify(0, "READY=1");
    });
  }

  void begin_stop(const char* why) {
    if (stop_wanted_) return;
    stop_wanted_ = true;
    ::sd_notify(0, "STOPPING=1");
    log_.notice("stopping reason={}", quoted(why));
    // What is being built is finished first: it is a matter of opening files.
    if (started_) stop_now();
  }

  void stop_now() {
    if (stopping_) return;
    stopping_ = stop_wanted_ = true;
    watchdog_.reset();
    boost::asio::co_spawn(control_, daemon_.stop(), [this](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
      log_.notice("stopped");
      control_.stop();
    });
  }

  void start_watchdog() {
    std::uint64_t microseconds = 0;
    if (::sd_watchdog_enabled(0, &microseconds) <= 0) return;
    const auto interval = std::chrono::microseconds(microseconds / 2);
    watchdog_clock_ = std::make_unique<SystemClock>(control_);
    watchdog_ = watchdog_clock_->make_alarm([this, interval] {
      ::sd_notify(0, "WATCHDOG=1");
      watchdog_->set(watchdog_clock_->now() + interval);
    });
    watchdog_->set(watchdog_clock_->now());
  }

  boost::asio::io_context& control_;
  TargetDaemon& daemon_;
  const MptargetdArguments& arguments_;
  const Log& log_;
  boost::asio::signal_set signals_;
  std::unique_ptr<SystemClock> watchdog_clock_;
  std::unique_ptr<Alarm> watchdog_;
  bool started_ = false;
  bool stop_wanted_ = false;
  bool stopping_ = false;
  int status_ = 0;
};

int check_config(const TargetDaemon& daemon) {
  const auto plan = daemon.check();
  for (const std::string& line : plan ? *plan : plan.error().lines) fmt::print(plan ? stdout : stderr, "{}\n", line);
  return plan ? 0 : 7;
}

int run_witness(const MptargetdArguments& arguments) {
  auto options = make_witness_options(arguments);
  const auto level = parse_level(arguments.level);
  if (!options || !level) {
    fmt::print(stderr, "mptargetd: {}\n",
               options ? fmt::format("unknown log level '{}'", arguments.level) : options.error());
    return 7;
  }
  StderrSink sink;
  const LogOutput output(sink, *level);
  boost::asio::io_context control(1);
  return WitnessRunner(control, std::move(*options), arguments.key_file, Log(output)).run();
}

int run(const MptargetdArguments& arguments) {
  const bool witness_words = !arguments.listen.empty() || !arguments.cluster.empty() || !arguments.key_file.empty() ||
                             !arguments.state.empty() || !arguments.lease.empty();
  if (arguments.witness) return run_witness(arguments);
  if (witness_words) {
    fmt::print(stderr, "mptargetd: --listen, --cluster, --key-file, --state and --lease go with --witness\n");
    return 7;
  }
  auto options = make_daemon_options(arguments);
  const auto level = parse_level(arguments.level);
  if (!options || !level) {
    fmt::print(stderr, "mptargetd: {}\n",
               options ? fmt::format("unknown log level '{}'", arguments.level) : options.error());
    return 7;
  }
  StderrSink sink;
  const LogOutput output(sink, *level);
  const Log log(output);
  std::signal(SIGPIPE, SIG_IGN);
  boost::asio::io_context control(1);
  const std::filesystem::path run_directory = options->layout.target_run();
  const bool alone = !options->control_socket || arguments.check_config;
  TargetDaemon daemon(control, std::move(*options), log);
  if (arguments.check_config) return check_config(daemon);
  // Without a place of its own there is nothing to share: stores have locks of their own.
  if (alone) return Runner(control, daemon, arguments, log).run();
  const auto lock = InstanceLock::take(run_directory / "mptargetd.lock");
  if (!lock) {
    if (lock.error() == std::errc::address_in_use) {
      const auto holder = InstanceLock::holder(run_directory / "mptargetd.lock");
      log.error("another mptargetd serves {} pid={}", run_directory.string(), holder.value_or(0));
    } else {
      log.error("{}: {}", run_directory.string(), lock.error().message());
    }
    return 1;
  }
  return Runner(control, daemon, arguments, log).run();
}

}  // namespace
}  // namespace mpath::target

int main(int argc, char** argv) {
  CLI::App app("User-space iSCSI target", "mptargetd");
  mpath::target::MptargetdArguments arguments;
  bool foreground = false;
  app.add_option("--lu", arguments.units,
                 "Serve FILE and nothing else, without any configuration; ram:SIZE and null:SIZE need no file. "
                 "Repeatable: LUN 0, 1 ...")
      ->type_name("FILE");
  app.add_option("--size", arguments.size, "With --lu: make the file, or grow it, to SIZE (1G)")->type_name("SIZE");
  app.add_option("--address", arguments.address, "With --lu: listen there (127.0.0.1)")->type_name("ADDRESS");
  app.add_option("--port", arguments.port, "With --lu: listen there (3260); 0: any that is free")->type_name("PORT");
  app.add_option("--target", arguments.target, "With --lu: the name of the target")->type_name("IQN");
  app.add_option("--root", arguments.root, "Move every file below DIR")->type_name("DIR");
  app.add_option("--config", arguments.config, "Read FILE instead of etc/mptarget/mptarget.conf")->type_name("FILE");
  app.add_option("--node", arguments.node, "Which node of the pair this one is: a or b")->type_name("a|b");
  app.add_flag("--witness", arguments.witness, "Be the third voter of a pair, and nothing else");
  app.add_option("--listen", arguments.listen, "With --witness: UDP addresses, separated by commas (port 7788)")
      ->type_name("ADDRESS[:PORT]")
      ->delimiter(',');
  app.add_option("--cluster", arguments.cluster, "With --witness: the name of the pair")->type_name("NAME");
  app.add_option("--key-file", arguments.key_file, "With --witness: the pair's key")->type_name("FILE");
  app.add_option("--state", arguments.state, "With --witness: keep the votes in DIR (var/lib/mptarget/witness)")
      ->type_name("DIR");
  app.add_option("--lease", arguments.lease, "With --witness: keep a word this long; at least the nodes' lease (400ms)")
      ->type_name("TIME");
  app.add_flag("--check-config", arguments.check_config, "Check the configuration, print what it makes, and exit");
  app.add_option("--shards", arguments.shards, "I/O threads")->type_name("N")->check(CLI::Range(1, 64));
  app.add_option("-v,--log-level", arguments.level, "error, warning, notice, info or debug")->type_name("LEVEL");
  app.add_flag("-f,--foreground", foreground, "Accepted for habit: mptargetd always stays in the foreground");
  app.set_version_flag("-V,--version", "mptargetd " MPTARGETD_VERSION);
  CLI11_PARSE(app, argc, argv);
  try {
    return mpath::target::run(arguments);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "mptargetd: {}\n", exception.what());
    return 1;
  }
}
