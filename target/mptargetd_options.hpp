// The command line of mptargetd, and the configuration that --lu stands for.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "target/cluster/witness.hpp"
#include "target/daemon.hpp"

namespace mpath::target {

struct MptargetdArguments {
  std::string root;
  std::string config;              // instead of etc/mptarget/mptarget.conf and conf.d
  std::vector<std::string> units;  // --lu: files, ram:SIZE, null:SIZE
  std::string size;                // --size: files are made, or grown, to it
  std::string address = "127.0.0.1";
  std::uint16_t port = 3260;
  std::string target;  // --target: its name
  std::string node;    // --node: a or b, of a pair
  unsigned shards = 0;
  std::string level = "notice";
  bool check_config = false;

  // --witness and what goes with it
  bool witness = false;
  std::vector<std::string> listen;  // ADDRESS[:PORT]
  std::string cluster;
  std::string key_file;
  std::string state;
  std::string lease;
};

// One line what is wrong with the arguments.
[[nodiscard]] std::expected<TargetDaemonOptions, std::string> make_daemon_options(const MptargetdArguments& arguments);

// What --witness stands for; or one line what is wrong.
[[nodiscard]] std::expected<cluster::WitnessOptions, std::string> make_witness_options(
    const MptargetdArguments& arguments);

// The target that --lu makes: its name was given, or comes from that of the file.
[[nodiscard]] std::string target_name_of(const MptargetdArguments& arguments);

}  // namespace mpath::target
