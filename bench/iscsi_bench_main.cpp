// A load generator for iSCSI targets that is not the bottleneck: one thread, any number of sessions, each with a full
// queue.
//
//   iscsi_bench --portal 127.0.0.1:3260 --target IQN [--lun N] --op read|write|randrw --size 4k --depth 32
//   --connections N --seconds N|--ios N
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>

#include "bench/bench_run.hpp"
#include "bench/iscsi_bench_client.hpp"

int main(int argc, char** argv) {
  using namespace mpath::bench;
  RunOptions options;
  IscsiAddress address;
  CLI::App app("Loads an iSCSI target with full queues and prints rate, latency and CPU per I/O", "iscsi_bench");
  app.add_option("--portal", address.portal, "HOST:PORT, numeric IPv4")->required();
  app.add_option("--target", address.target, "the target's iSCSI name")->required();
  app.add_option("--lun", address.lun, "logical unit number");
  app.add_option("--initiator", address.initiator, "our iSCSI name");
  add_options(app, options);
  app.add_option("--server-pid", options.server_pids, "whose CPU to report; may be repeated");
  CLI11_PARSE(app, argc, argv);
  try {
    Totals totals;
    std::vector<std::unique_ptr<LoadClient>> clients;
    for (std::uint32_t i = 0; i < options.connections; ++i) {
      Load load = options.load;
      load.seed += i;
      address.session = static_cast<std::uint8_t>(i);
      clients.push_back(std::make_unique<IscsiClient>(address, load, totals));
    }
    print_report(options, totals, run_load(options, clients));
    return totals.errors == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "iscsi_bench: {}\n", error.what());
    return 1;
  }
}
