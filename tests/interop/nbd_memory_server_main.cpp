// An NBD server with disks in memory, through the same NbdServer as the daemon: what the interop scripts talk to.
//
//   nbd_memory_server --directory DIR --export a=64m --export b=1g[,ro][,bs=4096][,nozero][,notrim][,noextents]
//   nbd_memory_server ... --drill delay:all=5ms            filters in front of every disk
//   nbd_memory_server --serve-fd N --export disk=64m        one inherited, connected client; ends with it
// With LISTEN_FDS set, the inherited listening sockets are served instead of DIR.
#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/drill_device.hpp"
#include "base/log.hpp"
#include "base/memory_device.hpp"
#include "base/shard.hpp"
#include "base/system_clock.hpp"
#include "exports/nbd_server.hpp"

namespace {

using namespace mpath;

struct Options {
  std::string directory;
  std::string tcp;
  std::vector<std::string> exports;
  std::string log_level = "warning";
  std::string drill;
  int serve_fd = -1;
  unsigned shards = 1;
};

// NAME=SIZE and features behind commas.
std::unique_ptr<MemoryDevice> make_device(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos) throw std::runtime_error("--export wants NAME=SIZE");
  std::vector<std::string> words = CLI::detail::split(text.substr(equals + 1), ',');
  std::uint64_t size = 0;
  std::string size_text = words.front();
  size = CLI::AsSizeValue(false)(size_text).empty() ? std::stoull(size_text) : 0;
  BlockLimits limits = {.size_bytes = size, .can_trim = true, .can_zero = true, .can_report_extents = true};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "ro") {
      limits.read_only = true;
    } else if (word == "nozero") {
      limits.can_zero = false;
    } else if (word == "notrim") {
      limits.can_trim = false;
    } else if (word == "noextents") {
      limits.can_report_extents = false;
    } else if (word.starts_with("bs=")) {
      limits.block_size = static_cast<std::uint32_t>(std::stoul(word.substr(3)));
      limits.preferred_block = std::max(limits.preferred_block, limits.block_size);
    } else {
      throw std::runtime_error(fmt::format("--export: what is '{}'?", word));
    }
  }
  MemoryDevice::Options memory;
  memory.name = text.substr(0, equals);
  memory.limits = limits;
  return std::make_unique<MemoryDevice>(memory);
}

// Sockets can be served when every export is known.
void open_doors(NbdServer& server, const Options& options) {
  const auto must = [](error_code error) {
    if (error) throw std::system_error(error, "cannot listen");
  };
  const int inherited = ::sd_listen_fds(1);
  for (int i = 0; i < inherited; ++i) must(server.adopt(UniqueFd(SD_LISTEN_FDS_START + i)));
  if (options.serve_fd >= 0) must(server.adopt(UniqueFd(options.serve_fd)));
  if (!options.tcp.empty()) {
    const auto colon = options.tcp.rfind(':');
    const auto port = server.listen_tcp(options.tcp.substr(0, colon),
                                        static_cast<std::uint16_t>(std::stoul(options.tcp.substr(colon + 1))));
    if (!port) must(port.error());
    fmt::print("port {}\n", *port);
  }
  fmt::print("ready\n");
  std::fflush(stdout);
}

void serve(const Options& options) {
  boost::asio::io_context control(1);
  SystemClock clock(control);
  std::vector<std::unique_ptr<MemoryDevice>> devices;
  for (const std::string& text : options.exports) devices.push_back(make_device(text));
  std::vector<std::unique_ptr<Shard>> shards;
  for (unsigned i = 0; i < options.shards; ++i) shards.push_back(std::make_unique<Shard>(i));
  NbdServerOptions server_options;
  if (!options.directory.empty()) server_options.directory = options.directory;
  bool stopping = false;
  std::function<void()> stop;
  if (options.serve_fd >= 0) server_options.on_idle = [&] { stop(); };
  StderrSink sink;
  const LogOutput output(sink, parse_level(options.log_level).value_or(LogLevel::warning));
  NbdServer server(control, clock, Log(output), server_options);
  std::vector<std::unique_ptr<DrillDevice>> drills;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    Shard& shard = *shards[i % shards.size()];
    drills.push_back(std::make_unique<DrillDevice>(*devices[i], shard.clock(), Log(output)));
    if (const auto wrong = drills.back()->set(options.drill)) throw std::runtime_error(*wrong);
  }
  for (const auto& shard : shards) shard->start();
  boost::asio::signal_set signals(control, SIGTERM, SIGINT);
  const auto close_all = [&]() -> boost::asio::awaitable<void> { return server.close(); };
  stop = [&] {
    if (stopping) return;
    stopping = true;
    boost::asio::co_spawn(control, close_all, [&](std::exception_ptr) { control.stop(); });
  };
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (!error) stop();
  });

  std::size_t waiting = devices.size();
  const auto ready = [&] {
    if (--waiting == 0) open_doors(server, options);
  };
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const error_code error = server.add_export(devices[i]->name(), *drills[i], *shards[i % shards.size()], ready);
    if (error) throw std::system_error(error, devices[i]->name());
  }
  control.run();
  for (const auto& shard : shards) shard->stop();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Serves disks in memory over NBD, for tests", "nbd_memory_server");
  app.add_option("--directory", options.directory, "where NAME.sock of each export goes");
  app.add_option("--tcp", options.tcp, "ADDRESS:PORT to listen on; the port is printed");
  app.add_option("--export", options.exports, "NAME=SIZE[,ro][,bs=N][,nozero][,notrim][,noextents]")->required();
  app.add_option("--serve-fd", options.serve_fd, "serve one connected client on this descriptor, then end");
  app.add_option("--drill", options.drill, "filters in front of every disk, as mpathd takes them");
  app.add_option("--log", options.log_level, "error, warning, notice, info, debug");
  app.add_option("--shards", options.shards, "I/O threads")->check(CLI::Range(1, 16));
  CLI11_PARSE(app, argc, argv);
  try {
    serve(options);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "nbd_memory_server: {}\n", error.what());
    return 1;
  }
}
