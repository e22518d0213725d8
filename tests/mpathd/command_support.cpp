#include "tests/mpathd/command_support.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace mpath::shell_test {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

PathSnapshot path(std::string device, unsigned sid, std::string nic) {
  PathSnapshot snapshot;
  snapshot.dev_t = "0:" + device.substr(1);
  snapshot.device = std::move(device);
  snapshot.host = sid;
  snapshot.lun = 1;
  snapshot.dm_state = DmState::active;
  snapshot.checker_state = CheckerState::ready;
  snapshot.checker = "tur";
  snapshot.next_check = 3;
  snapshot.check_interval = 5;
  snapshot.vendor = "IET";
  snapshot.product = "VIRTUAL-DISK";
  snapshot.revision = "0001";
  snapshot.serial = "beaf11";
  snapshot.size_bytes = 256 * mib;
  snapshot.target_name = "iqn.2026-11.org.example:disk";
  snapshot.initiator_name = "iqn.2026-11.org.example:client";
  snapshot.portal = "10.0." + std::to_string(sid) + ".1:3260,1";
  snapshot.iface = "i" + nic;
  snapshot.net_ifacename = std::move(nic);
  snapshot.max_sectors_kb = 1024;
  return snapshot;
}

MapSnapshot map(std::string name, std::string wwid, std::vector<PathSnapshot> paths) {
  MapSnapshot snapshot;
  snapshot.sysfs = "nbd/" + name + ".sock";
  snapshot.failback = "immediate";
  snapshot.queueing = "on";
  snapshot.size_bytes = 256 * mib;
  snapshot.vendor = "IET";
  snapshot.product = "VIRTUAL-DISK";
  snapshot.revision = "0001";
  snapshot.map_loads = 1;
  snapshot.exports = {"unix:/run/mpathd/nbd/" + name + ".sock"};
  for (PathSnapshot& member : paths) {
    member.map = name;
    member.wwid = wwid;
  }
  snapshot.name = std::move(name);
  snapshot.wwid = std::move(wwid);
  snapshot.groups.push_back(
      {.selector = "service-time 0", .priority = 1, .state = GroupState::active, .paths = std::move(paths)});
  return snapshot;
}

void fail(PathSnapshot& member, CheckerState found) {
  member.dm_state = DmState::failed;
  member.checker_state = found;
  member.failures = 7;
}

template <typename T>
T run_to_end(boost::asio::awaitable<T> work) {
  boost::asio::io_context io;
  std::optional<T> result;
  boost::asio::co_spawn(io, std::move(work), [&result](std::exception_ptr problem, T value) {
    if (problem) std::rethrow_exception(problem);
    result = std::move(value);
  });
  io.run();
  return std::move(result).value();
}

}  // namespace

Snapshot no_maps() { return {}; }

Snapshot one_map() {
  Snapshot snapshot;
  snapshot.maps.push_back(map("mpatha", "360000000000000000e00000000010001", {path("p0", 1, "eth0"), path("p1", 2, "eth1")}));
  return snapshot;
}

Snapshot three_maps() {
  Snapshot snapshot = one_map();
  snapshot.maps[0].path_faults = 12;

  PathSnapshot first = path("p2", 3, "eth0");
  PathSnapshot second = path("p103", 12, "bond0.1234");
  fail(second, CheckerState::faulty);
  second.device_state = "offline";
  MapSnapshot archive = map("archive-of-the-year-with-a-long-name", "36589cfc000000d2f4a9c1e6b7d80a1b2c", {std::move(first)});
  second.map = archive.name;
  second.wwid = archive.wwid;
  archive.size_bytes = std::uint64_t{1536} * 1024 * mib;  // 1.5T
  archive.vendor = "TrueNAS";
  archive.product = "iSCSI Disk";
  archive.queueing = "12 chk";
  archive.failback = "manual";
  archive.path_faults = 7;
  archive.switch_group = 2;
  archive.groups.push_back(
      {.selector = "service-time 0", .priority = 1, .state = GroupState::enabled, .paths = {std::move(second)}});
  snapshot.maps.push_back(std::move(archive));

  const std::string wwid = "1IET_00010001";
  PathSnapshot silent = path("p4", 5, "eth0");
  PathSnapshot late = path("p5", 6, "eth1");
  fail(silent, CheckerState::timeout);
  fail(late, CheckerState::pending);
  MapSnapshot lost = map(wwid, wwid, {std::move(silent), std::move(late)});
  lost.queueing = "25 sec";
  lost.read_only = true;
  lost.total_queue_seconds = 31;
  lost.queue_timeouts = 1;
  lost.map_failures = 2;
  lost.queued = 32;
  lost.groups[0].state = GroupState::enabled;
  lost.vendor.clear();
  lost.product.clear();
  lost.revision.clear();
  snapshot.maps.push_back(std::move(lost));

  PathSnapshot orphan = path("p7", 9, "eth1");
  orphan.lun = 0x4001;
  orphan.dm_state = DmState::undef;
  orphan.wwid = "36001405aaaaaaaaaaaaaaaaaaaaaaaaa";
  orphan.init_state = "failed";
  orphan.target_name.clear();
  orphan.vendor.clear();
  snapshot.orphans.push_back(std::move(orphan));
  return snapshot;
}

CommandReply run_line(RecordingControl& control, CommandRequest request, std::shared_ptr<const MultipathConfig> config) {
  if (!config) config = std::make_shared<const MultipathConfig>();
  return run_to_end(run_command(std::move(request), control, std::move(config)));
}

CommandReply run_line(RecordingControl& control, std::string line, std::shared_ptr<const MultipathConfig> config) {
  return run_line(control, CommandRequest{.line = std::move(line)}, std::move(config));
}

CommandReply run_level(RecordingControl& control, TopologyRequest request) {
  return run_to_end(run_topology(std::move(request), control));
}

std::string transcript(RecordingControl& control, const std::vector<std::string>& lines,
                       std::shared_ptr<const MultipathConfig> config) {
  std::string text;
  for (const std::string& line : lines) text += "mpathctl> " + line + "\n" + run_line(control, line, config).text + "\n";
  return text;
}

std::filesystem::path source_directory() {
  for (std::filesystem::path at = std::filesystem::current_path();; at = at.parent_path()) {
    if (std::filesystem::exists(at / "tests" / "golden") && std::filesystem::exists(at / "man")) return at;
    if (at == at.parent_path()) return std::filesystem::current_path();
  }
}

std::string page(const std::string& name) {
  std::ifstream file(source_directory() / "man" / name);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << "man/" << name << " is missing: run the tests from the source tree";
  return text.str();
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::filesystem::path file = source_directory() / "tests" / "golden" / name;
  if (const char* update = std::getenv("UPDATE_GOLDEN"); update != nullptr && std::string_view(update) == "1") {
    std::ofstream(file, std::ios::binary) << text;
    return;
  }
  std::ifstream stream(file, std::ios::binary);
  ASSERT_TRUE(stream) << file << " is missing; UPDATE_GOLDEN=1 makes it";
  std::ostringstream expected;
  expected << stream.rdbuf();
  std::istringstream ours(text);
  std::istringstream golden(expected.str());
  std::string our_line, golden_line;
  for (int number = 1; text != expected.str(); ++number) {
    const bool more = static_cast<bool>(std::getline(ours, our_line)) && static_cast<bool>(std::getline(golden, golden_line));
    if (more && our_line == golden_line) continue;
    ADD_FAILURE() << "tests/golden/" << name << ":" << number << " says\n  " << golden_line << "\nand this is\n  " << our_line
                  << "\nUPDATE_GOLDEN=1 writes the file anew";
    return;
  }
}

}  // namespace mpath::shell_test
