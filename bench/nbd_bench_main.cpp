// A load generator for NBD servers that is not the bottleneck: one thread, any number of connections, each with a full
// queue.
//
//   nbd_bench --socket PATH [--export NAME] --op read|write|mixed --size 4k --depth 32 --connections N --seconds
//   N|--ios N
#include <fmt/format.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>

#include "bench/bench_run.hpp"
#include "bench/nbd_bench_client.hpp"

namespace {

using namespace mpath::bench;

int peer_pid(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 ? peer.pid : -1;
}

}  // namespace

int main(int argc, char** argv) {
  RunOptions options;
  std::string socket_path, address, export_name;
  CLI::App app("Loads an NBD server with full queues and prints rate, latency and CPU per I/O", "nbd_bench");
  auto* socket = app.add_option("--socket", socket_path, "unix socket of the server");
  auto* tcp = app.add_option("--tcp", address, "HOST:PORT of the server, numeric IPv4")->excludes(socket);
  socket->excludes(tcp);
  app.add_option("--export", export_name, "export name (default: the only one)");
  add_options(app, options);
  app.add_option("--server-pid", options.server_pids,
                 "whose CPU to report; may be repeated (default: the unix socket's owner; -1: nobody's)");
  CLI11_PARSE(app, argc, argv);
  if (socket_path.empty() == address.empty()) {
    fmt::print(stderr, "nbd_bench: say where: --socket PATH or --tcp HOST:PORT\n");
    return 7;
  }
  try {
    Totals totals;
    std::vector<std::unique_ptr<LoadClient>> clients;
    for (std::uint32_t i = 0; i < options.connections; ++i) {
      Load load = options.load;
      load.seed += i;
      clients.push_back(std::make_unique<NbdClient>(connect_nbd(socket_path, address), export_name, load, totals));
    }
    if (options.server_pids.empty()) options.server_pids = {peer_pid(clients.front()->fd())};
    print_report(options, totals, run_load(options, clients));
    return totals.errors == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "nbd_bench: {}\n", error.what());
    return 1;
  }
}
