// mptarget.conf and a file of conf.d: whatever stands there is read to its end, what is wrong names a line, and what is
// taken holds together.
//
// The first byte chooses which node this is and whether secret files can be read. The text is one file, or two around a
// line of three dashes.
#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "target/config/parse.hpp"
#include "target/config/plan.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view cut_here = "\n---\n";

unsigned line_count(std::string_view text) {
  return static_cast<unsigned>(std::ranges::count(text, '\n')) + 1;
}

void check_units(const TargetdConfig& config) {
  std::set<std::string> names;
  for (const LuConfig& unit : config.units) {
    CHECK(valid_unit_name(unit.name) && unit.unit.name == unit.name);
    CHECK(names.insert(unit.name).second);
    CHECK(unit.store.block_bytes == 512 || unit.store.block_bytes == 4096);
    CHECK(!unit.replicated || (config.cluster && unit.unit.uuid != Uuid{}));
  }
  for (const TargetConfig& target : config.targets) {
    CHECK(!target.name.empty());
    for (const auto& [lun, unit] : target.luns) CHECK(names.contains(unit));
    // Every port that a unit is reached through is in a group that the target has.
    for (const auto& [lun, unit] : target.luns) {
      const UnitPorts ports = ports_of(config, unit);
      for (const TargetPort& port : ports.ports) {
        const auto of_port = [&](const scsi::PortGroup& group) { return group.id == port.alua_group; };
        CHECK(std::ranges::any_of(ports.groups, of_port));
      }
    }
    CHECK(!groups_of(config, target).empty());
  }
}

void check_cluster(const TargetdConfig& config) {
  if (!config.cluster) return;
  const ClusterConfig& cluster = *config.cluster;
  CHECK(!cluster.name.empty() && !cluster.key_file.empty());
  CHECK(!cluster.addresses[0].empty() && cluster.addresses[0].size() == cluster.addresses[1].size());
  CHECK(cluster.addresses[0].size() <= cluster_links_max);
  CHECK(cluster.keepalive < cluster.warntime && cluster.warntime < cluster.deadtime);
  CHECK(cluster.lease < cluster.deadtime && cluster.lease.count() > 0);
}

void read_all(fuzz::Input input) {
  using mpath::replication::Member;
  const unsigned choice = input.choice();
  const std::string_view text(reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size());
  const std::size_t cut = text.find(cut_here);
  std::vector<ConfigFile> files = {{.name = "mptarget.conf", .text = std::string(text.substr(0, cut))}};
  if (cut != text.npos)
    files.push_back({.name = "conf.d/more.conf",
                     .text = std::string(text.substr(cut + cut_here.size())),
                     .managed = true,
                     .others_read = true});
  const ReadSecret read_secret = [choice](const std::string&) -> std::expected<std::string, std::string> {
    if ((choice & 4) != 0) return std::unexpected("cannot be read");
    return "a secret of sixteen bytes";
  };
  NodeChoice node{.host_name = "host-a"};
  if ((choice & 1) != 0) node.node = (choice & 2) != 0 ? Member::b : Member::a;
  const ParsedConfig parsed = parse_targetd_config(files, read_secret, node);
  for (const ConfigProblem& problem : parsed.problems) {
    CHECK(!problem.what.empty());
    for (const ConfigFile& file : files)
      CHECK(problem.origin.file != file.name || problem.origin.line <= line_count(file.text));
  }
  static_cast<void>(show_settings(parsed.objects));
  if (has_errors(parsed.problems)) return;
  check_units(parsed.config);
  check_cluster(parsed.config);
  const ParsedConfig again = parse_targetd_config(files, read_secret, node);
  const ConfigPlan plan = make_plan(parsed.config, again.config);
  CHECK(plan.empty());
  static_cast<void>(make_plan({}, parsed.config).lines());
}

}  // namespace
}  // namespace mpath::target

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::target::read_all({data, size});
  return 0;
}
