#include "mpathd/shard_maps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/check.hpp"
#include "base/drill_device.hpp"
#include "mpathd/alua.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {
namespace {

constexpr std::uint32_t lun_list_bytes = 8 + 8 * 512;
constexpr auto scan_retry = std::chrono::seconds(1);
constexpr auto resize_limit = std::chrono::seconds(10);

std::string portal_text(const Nexus& nexus) {
  const SessionConfig& config = nexus.config();
  const bool v6 = config.address.find(':') != std::string::npos;
  return fmt::format("{}:{},{}", v6 ? "[" + config.address + "]" : config.address, config.port, nexus.portal_group());
}

PathTiming timing_of(const MapPolicy& policy) {
  return {.polling_interval = policy.polling_interval, .polling_interval_max = policy.polling_interval * 4};
}

}  // namespace

// Paths to maps: the PathHost that the shard's paths share.
class ShardMaps::Host final : public PathHost, public MapListener {
 public:
  explicit Host(ShardMaps& maps) : maps_(maps) {}
  void on_identified(Path& path, const LuFacts& facts) override { maps_.on_identified(path, facts); }
  void on_not_a_disk(Path& path) override { maps_.on_not_a_disk(path); }
  void on_foreign(Path& path) override { maps_.on_foreign(path); }
  void on_path_line(const std::string& line, bool warning) override { maps_.directory_.on_line(line, warning); }
  void on_map_line(const std::string& line, bool warning) override { maps_.directory_.on_line(line, warning); }

 private:
  ShardMaps& maps_;
};

// The LUNs of one nexus.
class ShardMaps::NexusPaths final : public ScsiPortObserver {
 public:
  NexusPaths(ShardMaps& maps, Nexus& nexus) : maps_(maps), nexus_(nexus) {
    task_.owner = this;
    task_.done = [](ScsiTask& task) noexcept { static_cast<ScanTask&>(task).owner->on_scanned(); };
    retry_ = maps_.shard_.clock().make_alarm([this] { scan(); });
    nexus_.add_observer(*this);
  }
  ~NexusPaths() override { nexus_.remove_observer(*this); }

  [[nodiscard]] Nexus& nexus() const { return nexus_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Path>>& paths() const { return paths_; }
  // Out of the list but alive until the loop comes round: it may be on the stack.
  void remove(Path& path) {
    const auto place = std::ranges::find(paths_, &path, &std::unique_ptr<Path>::get);
    CHECK(place != paths_.end());
    others_.insert(path.lun().value);
    auto gone = std::shared_ptr<Path>(std::move(*place));
    paths_.erase(place);
    maps_.shard_.post([gone] {});
  }
  // LUNs that were no disks may have become some.
  void scan_anew() {
    others_.clear();
    scan();
  }
  void scan() {
    if (scanning_ || !nexus_.up()) return;
    buffer_ = maps_.shard_.buffers().take(lun_list_bytes);
    piece_ = {buffer_.data(), lun_list_bytes};
    task_.cdb = scsi::report_luns_cdb(lun_list_bytes);
    task_.lun = {0};
    task_.direction = DataDirection::in;
    task_.length = lun_list_bytes;
    task_.data = std::span<const iovec>(&piece_, 1);
    task_.deadline = maps_.shard_.clock().now() + std::chrono::seconds(30);
    scanning_ = nexus_.submit(task_);
    if (!scanning_) retry_->set(maps_.shard_.clock().now() + scan_retry);
  }

  void on_port_up() override {
    for (const auto& path : copy()) path->port_up();
    scan();
  }
  void on_port_down(const SessionFailure&) override {
    retry_->cancel();
    for (const auto& path : copy()) path->port_down();
  }
  void on_port_room() override {
    std::set<MapDevice*> told;
    for (const auto& path : paths_) {
      if (path->map() != nullptr && told.insert(path->map()).second) path->map()->port_room(*path->map_path());
    }
  }
  void on_port_event(const scsi::Sense& sense) override {
    if (access_changed(sense)) {
      for (const auto& path : copy()) path->on_unit_attention(sense, false);
      return;
    }
    for (const auto& path : copy()) path->on_unit_attention(sense, true);
    scan_anew();
  }

 private:
  struct ScanTask : ScsiTask {
    NexusPaths* owner = nullptr;
  };

  [[nodiscard]] std::vector<Path*> copy() const {
    std::vector<Path*> list;
    for (const auto& path : paths_) list.push_back(path.get());
    return list;
  }

  void on_scanned() {
    scanning_ = false;
    const Buffer buffer = std::move(buffer_);
    if (task_.outcome != TaskOutcome::answered) return;
    const bool good = task_.status == scsi::Status::good;
    const std::size_t told = std::min<std::size_t>(task_.transferred, buffer.size());
    const auto list = scsi::decode_luns(std::as_bytes(buffer.bytes()).first(told));
    if (!good || !list) {  // most likely a unit attention of the new nexus
      retry_->set(maps_.shard_.clock().now() + (++failures_ < 5 ? std::chrono::milliseconds(0) : scan_retry));
      return;
    }
    failures_ = 0;
    for (const scsi::Lun lun : list->luns) {
      const bool known = std::ranges::any_of(paths_, [&](const auto& path) { return path->lun() == lun; });
      if (!known && !others_.contains(lun.value)) add(lun);
    }
  }

  void add(scsi::Lun lun) {
    const SessionConfig& config = nexus_.config();
    PathIdentity identity{.device = fmt::format("s{}l{}", nexus_.id(), lun.value),
                          .sid = nexus_.id(),
                          .target_name = config.target_name,
                          .initiator_name = config.initiator_name,
                          .portal = portal_text(nexus_),
                          .iface = config.binding.iface_name,
                          .net_ifacename = config.binding.net_ifacename};
    paths_.push_back(std::make_unique<Path>(nexus_, lun, std::move(identity), *maps_.host_, maps_.shard_.clock(),
                                            maps_.shard_.buffers()));
    paths_.back()->port_up();
  }

  ShardMaps& maps_;
  Nexus& nexus_;
  std::vector<std::unique_ptr<Path>> paths_;
  std::set<std::uint64_t>
      others_;  // LUNs that are no disks (tgt's controller, for one): not looked at again by themselves
  ScanTask task_;
  Buffer buffer_;
  iovec piece_{};
  bool scanning_ = false;
  unsigned failures_ = 0;
  std::unique_ptr<Alarm> retry_;
};

struct ShardMaps::MapEntry {
  std::string wwid;
  LuFacts facts;                       // of the first path
  std::unique_ptr<MapDevice> device;   // null until planned
  std::unique_ptr<DrillDevice> front;  // what is exported: the device, behind the operator's filters
  bool refused = false;
  std::string refused_why;
  bool closing = false;
  std::vector<Path*> waiting;  // identified, and the entry is not ready for them
  // A resize under way: paths whose capacity has not been read again yet.
  std::set<Path*> resizing;
  std::function<void(bool, const std::string&)> resized;
  std::unique_ptr<Alarm> resize_alarm;
};

ShardMaps::ShardMaps(Shard& shard, MapDirectory& directory, const Log& log)
    : shard_(shard), directory_(directory), log_(log), host_(std::make_unique<Host>(*this)) {}

ShardMaps::~ShardMaps() = default;

void ShardMaps::nexus_created(Nexus& nexus) {
  nexuses_.push_back(std::make_unique<NexusPaths>(*this, nexus));
}

void ShardMaps::nexus_stopped(Nexus& nexus) {
  const auto place = std::ranges::find_if(nexuses_, [&](const auto& entry) { return &entry->nexus() == &nexus; });
  if (place == nexuses_.end()) return;
  for (const auto& path : (*place)->paths()) leave(*path, false);
  nexuses_.erase(place);
  for (auto& [wwid, entry] : maps_) close_if_empty(*entry);  // those that waited for a path that had turned foreign
}

// Sorting.

void ShardMaps::on_identified(Path& path, const LuFacts& facts) {
  if (path.map() != nullptr && path.map()->wwid() != facts.wwid) {
    directory_.on_line(
        fmt::format("path {}: identity changed from {} to {}", path.device(), path.map()->wwid(), facts.wwid), true);
    return path.note_foreign();
  }
  if (!directory_.wants(path.target_name(), path.lun())) {
    return path.refuse(CheckerState::undef, "not what the firmware boots from");
  }
  auto& entry = maps_[facts.wwid];
  if (entry && entry->device && !entry->closing) return join(path, *entry);
  if (entry && entry->refused) return path.refuse(CheckerState::undef, entry->refused_why);
  if (!path.sized()) {  // in standby, and the capacity is with the others
    if (!entry) maps_.erase(facts.wwid);
    return path.refuse(CheckerState::ghost, "in standby, and there is no map yet that it could join");
  }
  if (entry) {
    if (std::ranges::find(entry->waiting, &path) == entry->waiting.end()) entry->waiting.push_back(&path);
    return;
  }
  entry = std::make_unique<MapEntry>();
  entry->wwid = facts.wwid;
  entry->facts = facts;
  entry->waiting.push_back(&path);
  directory_.plan_map(shard_, facts, [this, wwid = facts.wwid](const MapPlan& plan) { make_map(wwid, plan); });
}

void ShardMaps::make_map(const std::string& wwid, const MapPlan& plan) {
  const auto place = maps_.find(wwid);
  if (place == maps_.end()) return;
  MapEntry& entry = *place->second;
  if (entry.waiting.empty()) {  // the paths left while it was planned
    maps_.erase(place);
    return;
  }
  const auto waiting = std::exchange(entry.waiting, {});
  if (plan.refused) {
    entry.refused = true;
    entry.refused_why = plan.refused_why;
    for (Path* path : waiting) path->refuse(CheckerState::undef, plan.refused_why);
    return;
  }
  MapDevice::Environment environment{.clock = shard_.clock(), .buffers = shard_.buffers(), .listener = *host_};
  entry.device =
      std::make_unique<MapDevice>(plan.alias, wwid, entry.facts, detected(plan.policy, entry.facts.alua), environment);
  entry.front = std::make_unique<DrillDevice>(*entry.device, shard_.clock(), log_.about("map " + plan.alias));
  set_drill(entry, plan.drill);
  directory_.on_line(fmt::format("map {}: made wwid={} size={}", plan.alias, wwid, entry.facts.size_bytes), false);
  for (Path* path : waiting) join(*path, entry);
  directory_.on_map_made(shard_, wwid, *entry.front);
  for (const auto& nexus : nexuses_) {  // those in standby have waited for this
    for (const auto& path : nexus->paths()) {
      if (path->map() == nullptr && path->facts() && path->facts()->wwid == wwid && !path->sized())
        path->identify_again();
    }
  }
}

void ShardMaps::set_drill(MapEntry& entry, const std::string& specs) {
  if (specs == entry.front->specs()) return;
  if (const auto problem = entry.front->set(specs)) {
    directory_.on_line(fmt::format("map {}: drill refused: {}", entry.device->name(), *problem), true);
  } else {
    directory_.on_line(fmt::format("map {}: drill={}", entry.device->name(), quoted(specs)), true);
  }
}

void ShardMaps::join(Path& path, MapEntry& entry) {
  MapDevice& map = *entry.device;
  if (path.map() == nullptr) {
    MapPath& attached = map.attach(path.port(), path.lun(), path, path.device(), 1);
    path.set_map(&map, &attached, map.policy().checker, timing_of(map.policy()), map.policy().checker_timeout);
  }
  admit(path, entry);
}

// Identity is right; the rest of what was read must fit as well.
void ShardMaps::admit(Path& path, MapEntry& entry) {
  MapDevice& map = *entry.device;
  if (!path.serves()) {  // into standby: it is read again before it is used
    const bool last_to_resize = entry.resizing.erase(&path) != 0 && entry.resizing.empty();
    path.accept();
    if (last_to_resize) finish_resize(entry);
    return;
  }
  const LuFacts& facts = *path.facts();
  const LuFacts& ours = map.facts();
  if (facts.block_size != ours.block_size) {
    return path.refuse(CheckerState::faulty,
                       fmt::format("block size {} where the map has {}", facts.block_size, ours.block_size));
  }
  const bool resizing = entry.resizing.erase(&path) != 0;
  if (facts.size_bytes < ours.size_bytes) {
    path.refuse(CheckerState::faulty, fmt::format("size {} where the map has {}", facts.size_bytes, ours.size_bytes));
  } else {
    if (facts.size_bytes > ours.size_bytes && !resizing) {
      directory_.on_line(fmt::format("path {}: has grown to {} bytes, map {} has {}: use \"resize map {}\"",
                                     path.device(), facts.size_bytes, map.name(), ours.size_bytes, map.name()),
                         true);
    }
    LuFacts renewed = facts;
    renewed.size_bytes = ours.size_bytes;
    if (renewed != ours) map.set_facts(renewed);
    path.accept();
  }
  if (resizing && entry.resizing.empty()) finish_resize(entry);
}

void ShardMaps::on_not_a_disk(Path& path) {
  for (const auto& nexus : nexuses_) {
    const bool here = std::ranges::any_of(nexus->paths(), [&](const auto& known) { return known.get() == &path; });
    if (!here) continue;
    leave(path, false);
    return nexus->remove(path);
  }
}

// What is on the wire for the old LU may reach the new one: the session is ended, and the path comes back as a new one.
void ShardMaps::on_foreign(Path& path) {
  leave(path, true);
  path.port().abort_session(SessionEnd::aborted, fmt::format("path {} carries another logical unit", path.device()));
}

void ShardMaps::leave(Path& path, bool paths_may_return) {
  for (auto& [wwid, entry] : maps_) {
    std::erase(entry->waiting, &path);
    if (entry->resizing.erase(&path) != 0 && entry->resizing.empty()) finish_resize(*entry);
  }
  MapDevice* map = path.map();
  if (map == nullptr) {
    std::erase_if(maps_, [](const auto& item) {  // refused, and nobody is left to be refused: plan it anew next time
      return item.second->refused;
    });
    return;
  }
  MapPath* attached = path.map_path();
  path.set_map(nullptr, nullptr, CheckerKind::tur, {}, std::chrono::seconds(30));
  map->detach(*attached);
  const auto place = maps_.find(map->wwid());
  CHECK(place != maps_.end());
  // A map whose last path turned into something else stays, queueing, for its own LU to come back.
  if (!paths_may_return) close_if_empty(*place->second);
}

void ShardMaps::close_if_empty(MapEntry& entry) {
  if (entry.closing || !entry.device || entry.device->path_count() != 0) return;
  entry.closing = true;
  const std::string alias = entry.device->name();
  directory_.on_line(fmt::format("map {}: last path is gone, removing it", alias), false);
  entry.device->close([this, alias, wwid = entry.wwid] {
    // From the loop: the device is on the stack.
    shard_.post([this, alias, wwid] { directory_.on_map_closed(shard_, alias, [this, wwid] { forget(wwid); }); });
  });
}

void ShardMaps::forget(const std::string& wwid) {
  const auto place = maps_.find(wwid);
  if (place == maps_.end()) return;
  const auto entry = std::move(place->second);
  maps_.erase(place);
  for (Path* path : entry->waiting) {
    if (path->facts()) on_identified(*path, *path->facts());
  }
}

// Show and administration.

Snapshot ShardMaps::snapshot() const {
  Snapshot shot;
  for (const auto& [wwid, entry] : maps_) {
    if (entry->device && !entry->closing) shot.maps.push_back(entry->device->snapshot());
  }
  for (const auto& nexus : nexuses_) {
    for (const auto& path : nexus->paths()) {
      if (path->map() == nullptr) shot.orphans.push_back(path->path_snapshot());
    }
  }
  return shot;
}

std::vector<ShardMaps::Attached> ShardMaps::attached(unsigned sid) const {
  std::vector<Attached> list;
  for (const auto& nexus : nexuses_) {
    if (nexus->nexus().id() != sid) continue;
    for (const auto& path : nexus->paths()) list.push_back({path->lun().value, path->device(), path->port().up()});
  }
  return list;
}

Path* ShardMaps::find_path(const std::string& device) const {
  for (const auto& nexus : nexuses_) {
    for (const auto& path : nexus->paths()) {
      if (path->device() == device) return path.get();
    }
  }
  return nullptr;
}

MapDevice* ShardMaps::find_map(const std::string& alias) const {
  for (MapDevice* map : maps()) {
    if (map->name() == alias || map->wwid() == alias) return map;
  }
  return nullptr;
}

std::vector<MapDevice*> ShardMaps::maps() const {
  std::vector<MapDevice*> list;
  for (const auto& [wwid, entry] : maps_) {
    if (entry->device && !entry->closing) list.push_back(entry->device.get());
  }
  return list;
}

void ShardMaps::rescan(std::optional<unsigned> sid) {
  for (const auto& nexus : nexuses_) {
    if (sid && nexus->nexus().id() != *sid) continue;
    nexus->scan_anew();
    for (const auto& path : nexus->paths()) {
      if (usable(path->state())) path->identify_again();
    }
  }
}

void ShardMaps::set_plan(const MapPlan& plan) {
  MapDevice* map = find_map(plan.alias);
  if (map == nullptr) return;
  const MapPolicy policy = detected(plan.policy, map->facts().alua);
  map->set_policy(policy);
  set_drill(*maps_.at(map->wwid()), plan.drill);
  for (const auto& nexus : nexuses_) {
    for (const auto& path : nexus->paths()) {
      if (path->map() == map) {
        path->set_map(map, path->map_path(), policy.checker, timing_of(policy), policy.checker_timeout);
      }
    }
  }
}

void ShardMaps::resize(MapDevice& map, std::function<void(bool, const std::string&)> done) {
  MapEntry& entry = *maps_.at(map.wwid());
  if (entry.resized) return done(false, "a resize is under way");
  for (const auto& nexus : nexuses_) {
    for (const auto& path : nexus->paths()) {
      if (path->map() == &map && usable(path->state())) entry.resizing.insert(path.get());
    }
  }
  if (entry.resizing.empty()) return done(false, "no usable path");
  entry.resized = std::move(done);
  entry.resize_alarm = shard_.clock().make_alarm([this, &entry] {
    entry.resizing.clear();
    finish_resize(entry);
  });
  entry.resize_alarm->set(shard_.clock().now() + resize_limit);
  const auto paths = entry.resizing;
  for (Path* path : paths) path->identify_again();
}

// All usable paths were read again, or time is over.
void ShardMaps::finish_resize(MapEntry& entry) {
  if (!entry.resized) return;
  entry.resize_alarm->cancel();
  const auto done = std::exchange(entry.resized, {});
  std::set<std::uint64_t> sizes;
  std::size_t up = 0;
  const LuFacts* sample = nullptr;
  for (const auto& nexus : nexuses_) {
    for (const auto& path : nexus->paths()) {
      if (path->map() != entry.device.get() || !path->facts() || !path->port().up() || path->held()) continue;
      if (in_standby(path->state())) continue;  // what it knows of the capacity may be of yesterday
      ++up;
      sizes.insert(path->facts()->size_bytes);
      sample = &*path->facts();
    }
  }
  if (up == 0) return done(false, "no usable path");
  if (sizes.size() != 1) return done(false, "the paths do not agree on the size");
  if (*sizes.begin() < entry.device->facts().size_bytes) {
    return done(false, fmt::format("the logical unit has shrunk to {} bytes", *sizes.begin()));
  }
  entry.device->set_facts(*sample);
  done(true, fmt::format("{} bytes", *sizes.begin()));
}

}  // namespace mpath
