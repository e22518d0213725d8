#include "target/mptargetd_options.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <map>

#include "base/atomic_file.hpp"
#include "base/units.hpp"

namespace mpath::target {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds witness_lease_min{50};
constexpr std::chrono::milliseconds witness_lease_max{120'000};

std::string plain(std::string_view text) {
  std::string name;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    name += std::isalnum(byte) ? static_cast<char>(std::tolower(byte)) : letter == '.' || letter == '-' ? letter : '-';
  }
  while (!name.empty() && (name.front() == '.' || name.front() == '-')) name.erase(0, 1);
  return name.empty() ? "disk" : name;
}

// "ram:1G" and "null:1G".
bool without_medium(const std::string& unit) {
  return unit.starts_with("ram:") || unit.starts_with("null:");
}

std::expected<std::string, std::string> unit_section(const std::string& name, const std::string& unit,
                                                     const std::string& size) {
  if (without_medium(unit)) {
    const std::size_t colon = unit.find(':');
    return fmt::format("lu {} {{\n  type {}\n  size {}\n}}\n", name, unit.substr(0, colon),
                       config_quoted(unit.substr(colon + 1)));
  }
  std::error_code error;
  const fs::path path = fs::absolute(unit);
  const bool device = fs::is_block_file(path, error);
  if (!device && size.empty() && !fs::exists(path, error))
    return std::unexpected(fmt::format("{}: there is no such file; --size makes it", unit));
  std::string text =
      fmt::format("lu {} {{\n  path {}\n  type {}\n", name, config_quoted(path.string()), device ? "block" : "file");
  if (!device && !size.empty()) text += fmt::format("  create yes\n  size {}\n", config_quoted(size));
  return text + "}\n";
}

std::expected<TargetDaemonOptions, std::string> options_of_units(const MptargetdArguments& arguments,
                                                                 TargetDaemonOptions options) {
  const std::string address =
      arguments.address.find(':') == arguments.address.npos ? arguments.address : "[" + arguments.address + "]";
  std::string text = fmt::format("portal_group 1 {{\n  portal {}:{}\n}}\n", address, arguments.port);
  std::string luns;
  std::map<std::string, std::string> beside;  // where a unit of a file keeps its identity
  for (std::size_t index = 0; index < arguments.units.size(); ++index) {
    const std::string& unit = arguments.units[index];
    const std::string name = fmt::format("lu{}", index);
    auto section = unit_section(name, unit, arguments.size);
    if (!section) return std::unexpected(section.error());
    text += *section;
    luns += fmt::format("  lun {} {}\n", index, name);
    if (!without_medium(unit)) beside[name] = fs::absolute(unit).string() + ".mptarget";
  }
  text += fmt::format("target {} {{\n{}}}\n", target_name_of(arguments), luns);
  options.fixed = {{.name = "--lu", .text = std::move(text)}};
  // Without a root nothing of the system's is touched: there is no control socket, and the identity lies by the file.
  const char* root = std::getenv("MPATHD_ROOT");
  if (!arguments.root.empty() || (root != nullptr && *root != '\0')) return options;
  options.control_socket = false;
  options.unit_directory = [beside](const std::string& unit) {
    const auto place = beside.find(unit);
    return place != beside.end() ? fs::path(place->second) : fs::path();
  };
  return options;
}

NodeChoice node_choice(const std::string& node) {
  NodeChoice choice;
  if (!node.empty()) choice.node = node == "b" ? mpath::replication::Member::b : mpath::replication::Member::a;
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) choice.host_name = host;
  return choice;
}

}  // namespace

std::expected<cluster::WitnessOptions, std::string> make_witness_options(const MptargetdArguments& arguments) {
  const bool serves = !arguments.units.empty() || !arguments.config.empty() || !arguments.node.empty() ||
                      !arguments.size.empty() || !arguments.target.empty() || arguments.check_config;
  if (serves)
    return std::unexpected("--witness holds votes only: --lu, --config, --node and the like do not go with it");
  if (arguments.listen.empty()) return std::unexpected("--witness needs --listen ADDRESS[:PORT]");
  if (arguments.cluster.empty())
    return std::unexpected("--witness needs --cluster NAME, the name that mptarget.conf has");
  if (arguments.key_file.empty())
    return std::unexpected("--witness needs --key-file FILE, the one that the nodes have");
  cluster::WitnessOptions options{.cluster = arguments.cluster, .keys = {}, .listen = {}, .directory = arguments.state};
  for (const std::string& text : arguments.listen) {
    const auto portal = parse_portal(text, cluster_port);
    if (!portal) return std::unexpected(fmt::format("--listen {}: {}", text, portal.error()));
    options.listen.push_back(*portal);
  }
  if (!arguments.lease.empty()) {
    const auto lease = parse_duration(arguments.lease);
    if (!lease) return std::unexpected("--lease: " + lease.error());
    if (*lease < witness_lease_min || *lease > witness_lease_max) {
      return std::unexpected(fmt::format("--lease: between {} and {}", format_duration(witness_lease_min),
                                         format_duration(witness_lease_max)));
    }
    options.lease = *lease;
  }
  const auto keys = cluster::read_cluster_keys(arguments.key_file);
  if (!keys) return std::unexpected("--key-file " + keys.error());
  options.keys = *keys;
  if (options.directory.empty()) options.directory = make_layout(arguments.root).target_state() / "witness";
  return options;
}

std::string target_name_of(const MptargetdArguments& arguments) {
  if (!arguments.target.empty()) return arguments.target;
  const std::string& first = arguments.units.front();
  const std::string stem = without_medium(first) ? first.substr(0, first.find(':')) : fs::path(first).stem().string();
  return "iqn.2026-01.localhost:" + plain(stem);
}

std::expected<TargetDaemonOptions, std::string> make_daemon_options(const MptargetdArguments& arguments) {
  TargetDaemonOptions options{
      .layout = make_layout(arguments.root), .choice = node_choice(arguments.node), .shards = arguments.shards};
  if (!arguments.node.empty() && arguments.node != "a" && arguments.node != "b")
    return std::unexpected(fmt::format("--node: \"{}\" is not a or b", arguments.node));
  if (!arguments.units.empty()) {
    if (!arguments.node.empty()) return std::unexpected("--node goes with a configuration of a pair, not with --lu");
    if (!arguments.config.empty()) return std::unexpected("--config and --lu exclude each other");
    if (!arguments.size.empty()) {
      if (const auto size = parse_size(arguments.size); !size) return std::unexpected("--size: " + size.error());
    }
    return options_of_units(arguments, std::move(options));
  }
  if (!arguments.size.empty() || !arguments.target.empty()) return std::unexpected("--size and --target go with --lu");
  options.config_file = arguments.config;
  return options;
}

}  // namespace mpath::target
