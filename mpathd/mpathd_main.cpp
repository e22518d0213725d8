// mpathd: parse options, build the daemon, run until told to stop.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/instance_lock.hpp"
#include "initiator/initiator_name.hpp"
#include "initiator/libiscsi_session.hpp"
#include "mpathd/daemon.hpp"
#include "mpathd/root_guard.hpp"

namespace mpath {
namespace {

struct Arguments {
  std::string root;
  unsigned shards = 1;
  std::string level = "notice";
  std::string nbd_listen;
  bool for_root = false;
};

// ADDRESS[:PORT], an IPv6 address in brackets.
bool parse_listen(const std::string& text, std::string& address, std::uint16_t& port) {
  std::string rest;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string::npos) return false;
    address = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const auto colon = text.find(':');
    address = text.substr(0, colon);
    rest = colon == std::string::npos ? "" : text.substr(colon);
  }
  if (address.empty()) return false;
  if (rest.empty()) return true;
  char* end = nullptr;
  const long number = std::strtol(rest.c_str() + 1, &end, 10);
  if (rest[0] != ':' || *end != '\0' || number < 0 || number > 65535) return false;
  port = static_cast<std::uint16_t>(number);
  return true;
}

// Sockets that systemd opened for us: "control" and "nbd" by FileDescriptorName=, the first is control otherwise.
void take_inherited(DaemonOptions& options) {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  for (int index = 0; index < count; ++index) {
    const std::string name = names != nullptr && names[index] != nullptr ? names[index] : "";
    UniqueFd fd(SD_LISTEN_FDS_START + index);
    if (name == "nbd" || options.control_fd) {
      options.nbd_fds.push_back(std::move(fd));
    } else {
      options.control_fd = std::move(fd);
    }
    if (names != nullptr) std::free(names[index]);
  }
  std::free(names);
}

// A disk of the kernel's may be what memory is written out to: then nothing here may wait for memory that waits for us.
// Pages that we have stay, and the kernel frees memory for our allocations without writing (for threads made from here on
// too). Needs CAP_SYS_RESOURCE; without it there can be no such disk either.
void never_wait_for_ourselves(const Log& log) {
  // Memory that is locked up to a limit would be refused beyond it.
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0 || ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    log.info("memory is not locked: {}", std::strerror(errno));
  }
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) log.info("not a flusher of I/O: {}", std::strerror(errno));
}

class Runner {
 public:
  Runner(boost::asio::io_context& control, Daemon& daemon, const Log& log, bool for_root)
      : control_(control), daemon_(daemon), log_(log), for_root_(for_root), signals_(control, SIGTERM, SIGINT, SIGHUP) {}

  int run() {
    daemon_.on_shutdown = [this] { begin_stop("shutdown was commanded"); };
    wait_for_signal();
    boost::asio::co_spawn(control_, daemon_.start(), [this](const std::exception_ptr& exception, error_code error) {
      if (exception) std::rethrow_exception(exception);
      if (error) {
        status_ = 1;
        return begin_stop("start failed");
      }
      ::sd_notifyf(0, "READY=1\nSTATUS=running\nMAINPID=%d", static_cast<int>(::getpid()));
      log_.notice("started version={}", MPATHD_VERSION);
      start_watchdog();
    });
    control_.run();
    return status_;
  }

 private:
  void wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal == SIGHUP) {
        boost::asio::co_spawn(control_, daemon_.reconfigure(), [](const std::exception_ptr& exception, const CommandOutcome&) {
          if (exception) std::rethrow_exception(exception);
        });
        return wait_for_signal();
      }
      if (for_root_) {
        log_.notice("a signal to end is not followed: the root file system is served");
        return wait_for_signal();
      }
      begin_stop("signal");
    });
  }

  void begin_stop(const char* why) {
    if (stopping_) return;
    stopping_ = true;
    ::sd_notify(0, "STOPPING=1");
    log_.notice("stopping reason={}", quoted(why));
    watchdog_.reset();
    boost::asio::co_spawn(control_, daemon_.stop(), [this](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
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
  Daemon& daemon_;
  const Log& log_;
  const bool for_root_;
  boost::asio::signal_set signals_;
  std::unique_ptr<SystemClock> watchdog_clock_;
  std::unique_ptr<Alarm> watchdog_;
  bool stopping_ = false;
  int status_ = 0;
};

int run(const Arguments& arguments) {
  DaemonOptions options;
  options.layout = make_layout(arguments.root);
  options.shards = arguments.shards;
  options.for_root = arguments.for_root;
  if (!arguments.nbd_listen.empty() && !parse_listen(arguments.nbd_listen, options.nbd_tcp_address, options.nbd_tcp_port)) {
    fmt::print(stderr, "mpathd: --nbd-listen takes ADDRESS[:PORT], not '{}'\n", arguments.nbd_listen);
    return 2;
  }
  const auto level = parse_level(arguments.level);
  if (!level) {
    fmt::print(stderr, "mpathd: unknown log level '{}'\n", arguments.level);
    return 2;
  }
  StderrSink sink;
  const LogOutput output(sink, *level);
  const Log log(output);
  take_inherited(options);
  std::signal(SIGPIPE, SIG_IGN);
  never_wait_for_ourselves(log);

  std::error_code made;
  std::filesystem::create_directories(options.layout.run(), made);
  const auto lock = InstanceLock::take(options.layout.run() / "mpathd.lock");
  if (!lock) {
    if (lock.error() == std::errc::address_in_use) {
      const auto holder = InstanceLock::holder(options.layout.run() / "mpathd.lock");
      log.error("another mpathd serves {} pid={}", options.layout.root.string(), holder.value_or(0));
    } else {
      log.error("{}: {}", options.layout.run().string(), lock.error().message());
    }
    return 1;
  }
  const auto name = load_initiator_name(options.layout.initiator_name());
  if (!name) {
    log.error("{}: {}", options.layout.initiator_name().string(),
              name.error() == std::errc::invalid_argument ? "no valid InitiatorName" : name.error().message());
    return 1;
  }
  int status = 0;
  {
    boost::asio::io_context control(1);
    Daemon daemon(control, std::move(options), &make_libiscsi_session, log);
    status = Runner(control, daemon, log, arguments.for_root).run();
  }
  log.notice("stopped");
  return status;
}

}  // namespace
}  // namespace mpath

int main(int argc, char** argv) {
  CLI::App app("User-space iSCSI initiator with multipath", "mpathd");
  mpath::Arguments arguments;
  bool foreground = false;
  app.add_option("--root", arguments.root, "Move every file below DIR")->type_name("DIR");
  app.add_option("--shards", arguments.shards, "I/O threads")->type_name("N")->check(CLI::Range(1, 64));
  app.add_option("--nbd-listen", arguments.nbd_listen, "Offer every map over NBD on TCP too")->type_name("ADDRESS[:PORT]");
  app.add_flag("--for-root", arguments.for_root, "Serve the root file system: started in an initramfs, ends with the machine");
  app.add_option("-v,--verbosity", arguments.level, "Log level: error, warning, notice, info, debug")->type_name("LEVEL");
  app.add_flag("-d,--foreground", foreground, "Accepted for habit: mpathd always stays in the foreground");
  app.set_version_flag("-V,--version", "mpathd " MPATHD_VERSION);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto serve = [&arguments] { return mpath::run(arguments); };
    return arguments.for_root ? mpath::guard_root(argv[0], serve) : serve();
  } catch (const std::exception& exception) {
    fmt::print(stderr, "mpathd: {}\n", exception.what());
    return 1;
  }
}
