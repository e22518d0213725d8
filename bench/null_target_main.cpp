// An iSCSI target that costs next to nothing: the ceiling against which initiators are measured.
//
//   null_target --address 127.0.0.1 --port 0 --size 1T
//
// Prints "listening on ADDRESS:PORT TARGET" when ready; SIGTERM ends it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>

#include "bench/null_target.hpp"

int main(int argc, char** argv) {
  using namespace mpath::bench;
  NullDisk disk;
  std::string address = "127.0.0.1";
  std::uint16_t port = 3260;
  unsigned fill = 0;
  CLI::App app("An iSCSI target without a disk: reads give one byte value, writes vanish.");
  app.add_option("--address", address, "IPv4 address to listen on")->capture_default_str();
  app.add_option("--port", port, "TCP port, 0 for any free one")->capture_default_str();
  app.add_option("--size", disk.size_bytes, "size of LUN 0")->transform(CLI::AsSizeValue(false))->capture_default_str();
  app.add_option("--block-size", disk.block_bytes, "logical block")
      ->check(CLI::IsMember({512, 4096}))
      ->capture_default_str();
  app.add_option("--target", disk.target_name, "name of the target")->capture_default_str();
  app.add_option("--fill", fill, "byte that reads give")->check(CLI::Range(0, 255))->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  try {
    disk.fill.assign(data_in_bytes_max, static_cast<std::byte>(fill));
    NullTarget target(disk, address, port);
    fmt::print("listening on {}:{} {}\n", address, target.port(), disk.target_name);
    std::fflush(stdout);
    target.run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "null_target: {}\n", error.what());
    return 1;
  }
  return 0;
}
