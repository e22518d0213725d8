// Two nodes with one disk, a path to each: real paths and a real map on simulated ports. Node a is the target port
// group 1, node b is 2; which one serves is what the test says.
//
// Threads: one. Time stands still but for run().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mpathd/path.hpp"
#include "tests/mpathd/map_world.hpp"

namespace mpath::test {

inline constexpr std::size_t a = 0;
inline constexpr std::size_t b = 1;

class PairWorld : public PathHost {
 public:
  explicit PairWorld(MapPolicy policy_of_map = {}) : policy(policy_of_map) {
    disk.vendor = "MPATH";
    disk.groups = {{.id = 1, .state = scsi::AccessState::optimized}, {.id = 2, .state = scsi::AccessState::standby}};
    for (const std::size_t node : {a, b}) {
      ports.push_back(std::make_unique<SimPort>(clock, disk, static_cast<std::uint16_t>(node + 1)));
      ports[node]->alua_group = static_cast<std::uint16_t>(node + 1);
      PathIdentity identity{.device = node == a ? "a" : "b"};
      paths.push_back(std::make_unique<Path>(*ports[node], scsi::Lun{0}, std::move(identity), *this, clock, buffers));
    }
  }
  ~PairWorld() override {
    if (map) map->close([] {});
    for (const std::size_t node : {a, b}) cut(node);
    for (const auto& path : paths) {
      if (path->map_path() != nullptr) map->detach(*path->map_path());
    }
    clock.run_for(std::chrono::minutes(1));
  }

  // PathHost: one map, made of the first path that knows the capacity.
  void on_identified(Path& path, const LuFacts& facts) override {
    if (!map) {
      if (!path.sized()) return path.refuse(CheckerState::ghost, "no map yet");
      map = std::make_unique<MapDevice>("mpatha", facts.wwid, facts, detected(policy, facts.alua),
                                        MapDevice::Environment{clock, buffers, lines});
    }
    if (path.map() == nullptr) {
      MapPath& entry = map->attach(path.port(), path.lun(), path, path.device(), 1);
      path.set_map(map.get(), &entry, CheckerKind::tur, PathTiming{}, std::chrono::seconds(30));
    }
    path.accept();
  }
  void on_not_a_disk(Path&) override {}
  void on_foreign(Path&) override {}
  void on_path_line(const std::string& line, bool) override { lines.lines.push_back(line); }

  void connect(std::size_t node) {
    ports[node]->log_in();
    paths[node]->port_up();
  }
  void connect_both() {
    connect(a);
    run(std::chrono::milliseconds(1));
    connect(b);
    run(std::chrono::milliseconds(1));
  }
  void cut(std::size_t node, std::size_t executed = 0) {
    ports[node]->lose(executed);
    paths[node]->port_down();
  }
  // Time passes, and the target answers what it is asked within a millisecond.
  void run(Duration time) {
    for (const TimePoint end = clock.now() + time; clock.now() < end;) {
      clock.run_for(std::chrono::milliseconds(1));
      for (bool more = true; more;) {
        more = false;
        for (const std::size_t node : {a, b}) more = (!silent[node] && ports[node]->serve() != 0) || more;
        clock.run_for(Duration(0));
      }
    }
  }
  enum class Tell : std::uint8_t { yes, no };
  void states(scsi::AccessState of_a, scsi::AccessState of_b, Tell tell = Tell::yes) {
    disk.groups[a].state = of_a;
    disk.groups[b].state = of_b;
    if (tell == Tell::no) return;
    for (auto& port : ports) port->attention = scsi::sense::alua_changed;
  }
  Request& write(std::uint64_t block = 0) {
    requests.push_back(std::make_unique<Request>(BlockOp::write, block, 1, std::byte{7}));
    map->submit(*requests.back());
    return *requests.back();
  }
  [[nodiscard]] std::string state(std::size_t node) const { return state_name(paths[node]->state()); }
  [[nodiscard]] bool said(const std::string& what) const {
    return std::ranges::any_of(lines.lines, [&](const std::string& line) { return line.find(what) != line.npos; });
  }

  SimClock clock;
  BufferPool buffers;
  Lines lines;
  Disk disk;
  MapPolicy policy;
  bool silent[2] = {false, false};
  std::vector<std::unique_ptr<SimPort>> ports;
  std::unique_ptr<MapDevice> map;
  std::vector<std::unique_ptr<Path>> paths;
  std::vector<std::unique_ptr<Request>> requests;
};

}  // namespace mpath::test
