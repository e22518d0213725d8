#include "target/witness_runner.hpp"

#include <systemd/sd-daemon.h>

#include <csignal>
#include <utility>

#include "target/cluster/cluster_key.hpp"

namespace mpath::target {

WitnessRunner::WitnessRunner(boost::asio::io_context& control, cluster::WitnessOptions options, std::string key_file,
                             const Log& log)
    : control_(control),
      clock_(control),
      log_(log),
      key_file_(std::move(key_file)),
      signals_(control, SIGTERM, SIGINT, SIGHUP),
      witness_(control, clock_, std::move(options), log) {}

int WitnessRunner::run() {
  wait_for_signal();
  witness_.on_failure = [this] {
    status_ = 1;
    control_.stop();
  };
  if (const auto started = witness_.start(); !started) {
    log_.error("{}", started.error());
    return 1;
  }
  ::sd_notify(0, "READY=1\nSTATUS=witness");
  control_.run();
  return status_;
}

void WitnessRunner::wait_for_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGHUP) {
      read_keys_again();
      return wait_for_signal();
    }
    ::sd_notify(0, "STOPPING=1");
    control_.stop();
  });
}

void WitnessRunner::read_keys_again() {
  const auto keys = cluster::read_cluster_keys(key_file_);
  if (keys) {
    witness_.set_keys(*keys);
    log_.notice("the keys were read again");
  } else {
    log_.error("{}: the keys stay as they are", keys.error());
  }
}

}  // namespace mpath::target
