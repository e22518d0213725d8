// All paths and maps of one shard: finds the LUNs behind each nexus, sorts their paths into maps by SCSI ID, and asks the
// control thread (through MapDirectory) what a map that it meets for the first time is called and how it shall behave.
//
// Threads:   all members run on the shard; MapDirectory's answers must be brought home to it.
// Ownership: shard and directory are borrowed. Destroy after every nexus has stopped and every map was closed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/shard.hpp"
#include "initiator/nexus.hpp"
#include "mpathd/map_device.hpp"
#include "mpathd/path.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

// What the administrator wants of one map.
struct MapPlan {
  std::string alias;
  MapPolicy policy;
  std::string drill;         // filters between the map and its exports (base/drill_device.hpp); empty: none
  bool refused = false;      // blacklisted, or it lives on another shard
  std::string refused_why;
};

// The control thread's part. All members are called on the shard.
class MapDirectory {
 public:
  virtual ~MapDirectory() = default;
  // Whether this unit is any business of ours. Always the same answer.
  [[nodiscard]] virtual bool wants(const std::string& /*target_name*/, scsi::Lun /*lun*/) const { return true; }
  // `answer` runs on the shard, later, once.
  virtual void plan_map(Shard& shard, const LuFacts& facts, std::function<void(const MapPlan&)> answer) = 0;
  // A map that can be exported now. `device` is its front and lives until on_map_closed() let go of it.
  virtual void on_map_made(Shard& shard, const std::string& wwid, BlockDevice& device) = 0;
  // It has closed (every request completed). `release` must be called on the shard when nobody holds it any more.
  virtual void on_map_closed(Shard& shard, const std::string& alias, std::function<void()> release) = 0;
  virtual void on_line(const std::string& line, bool warning) = 0;
};

class ShardMaps {
 public:
  ShardMaps(Shard& shard, MapDirectory& directory, const Log& log);
  ~ShardMaps();

  // From the NexusListener of the daemon.
  void nexus_created(Nexus& nexus);
  void nexus_stopped(Nexus& nexus);

  // For show. Cheap, never waits.
  [[nodiscard]] Snapshot snapshot() const;
  struct Attached {
    std::uint64_t lun;
    std::string device;
    bool running;
  };
  [[nodiscard]] std::vector<Attached> attached(unsigned sid) const;

  // For administration. Null when there is none of that name.
  [[nodiscard]] Path* find_path(const std::string& device) const;
  [[nodiscard]] MapDevice* find_map(const std::string& alias) const;
  [[nodiscard]] std::vector<MapDevice*> maps() const;
  // REPORT LUNS again: on every nexus, or on that of one SID.
  void rescan(std::optional<unsigned> sid);
  // Reads the capacity on every usable path again; `done` says whether all agreed and what the size is now.
  void resize(MapDevice& map, std::function<void(bool ok, const std::string& text)> done);
  // New settings for a map that is there (multipath.conf was read again).
  void set_plan(const MapPlan& plan);

 private:
  class NexusPaths;
  struct MapEntry;
  class Host;

  void on_identified(Path& path, const LuFacts& facts);
  void on_not_a_disk(Path& path);
  void on_foreign(Path& path);
  void join(Path& path, MapEntry& entry);
  void leave(Path& path, bool paths_may_return);
  void admit(Path& path, MapEntry& entry);
  void make_map(const std::string& wwid, const MapPlan& plan);
  void set_drill(MapEntry& entry, const std::string& specs);
  void close_if_empty(MapEntry& entry);
  void forget(const std::string& wwid);
  void finish_resize(MapEntry& entry);

  Shard& shard_;
  MapDirectory& directory_;
  Log log_;
  std::unique_ptr<Host> host_;
  std::vector<std::unique_ptr<NexusPaths>> nexuses_;
  std::map<std::string, std::unique_ptr<MapEntry>> maps_;  // by WWID
};

}  // namespace mpath
