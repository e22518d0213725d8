// The witness as a process: makes one, tells the service manager, runs until it is told to stop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <string>

#include "base/log.hpp"
#include "base/system_clock.hpp"
#include "target/cluster/witness.hpp"

namespace mpath::target {

class WitnessRunner {
 public:
  WitnessRunner(boost::asio::io_context& control, cluster::WitnessOptions options, std::string key_file,
                const Log& log);
  // The exit status: 0 when it was told to stop, 1 when it could not start or not go on.
  [[nodiscard]] int run();

 private:
  void wait_for_signal();
  void read_keys_again();

  boost::asio::io_context& control_;
  SystemClock clock_;
  Log log_;
  std::string key_file_;
  boost::asio::signal_set signals_;
  cluster::Witness witness_;
  int status_ = 0;
};

}  // namespace mpath::target
