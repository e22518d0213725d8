// The doors of every map: its NBD socket, and the disks of the kernel that stand for it. Opens what the configuration, an
// administrator, or a former process of ours asked for; shows them; closes them when the map goes.
//
//   a map is made ──► was it open in a former process? ── yes ──► wait until that one's sessions have ended for certain,
//                                                                 for clients send again what it had not answered
//                 ──► open each door ──► note it for our successor, tell udev its name
//
// What is open is written to run()/exports.json with the boot that it belongs to, before the kernel is asked: so a killed
// process leaves no disk that its successor does not know of. What an administrator has opened or closed by command is there
// as well, and is so again when the map is made again in this boot, unless its settings have changed since.
// run()/udev/DEVICE is what the udev rules read.
//
// The mpathd of the root file system makes nbd disks and nothing else, under an identity of their own. A map that it has as a
// disk is none of the usual mpathd: two disks with the same data would have two caches.
//
// Threads:   all members on the control thread.
// Ownership: everything in Surroundings, and each map's device and shard, is borrowed: the device until remove() has
//            called back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/clock.hpp"
#include "base/layout.hpp"
#include "base/log.hpp"
#include "base/shard.hpp"
#include "exports/kernel_disk.hpp"
#include "exports/nbd_server.hpp"
#include "mpathd/export_kind.hpp"
#include "mpathd/map_control.hpp"
#include "mpathd/multipath_config_settings.hpp"

namespace mpath {

using KernelDiskMaker = std::function<std::unique_ptr<KernelDisk>(ExportKind, KernelDiskSetup)>;

// Those of exports/.
[[nodiscard]] std::unique_ptr<KernelDisk> make_kernel_disk(ExportKind kind, KernelDiskSetup setup);

// The name below /dev of the nbd disk with this identity. Blocks.
using NbdFinder = std::function<std::optional<std::string>(const std::string& identity)>;
[[nodiscard]] std::optional<std::string> find_nbd_disk(const std::string& identity);

class MapExports {
 public:
  struct Surroundings {
    boost::asio::io_context& control;
    boost::asio::thread_pool& blocking;
    Clock& clock;
    NbdServer& nbd;
    Layout layout;
    bool for_root = false;
    Log log;
    // Returns when nothing that the process before us sent can be carried out any more, or the map's fence says no more
    // can be done about it.
    std::function<boost::asio::awaitable<void>(std::string wwid)> former_ended;
    // "ip-A:P-iscsi-IQN-lun-L" of each way to the map.
    std::function<boost::asio::awaitable<std::vector<std::string>>(std::string wwid)> by_path;
    KernelDiskMaker maker = &make_kernel_disk;
    NbdFinder find_nbd = &find_nbd_disk;
  };
  struct Map {
    std::string name, wwid;
    BlockDevice* device = nullptr;
    Shard* shard = nullptr;
    ExportSettings settings;
  };

  explicit MapExports(Surroundings surroundings);
  ~MapExports();

  // What a former process had open. Before the first add().
  [[nodiscard]] boost::asio::awaitable<void> begin();
  // Opens its doors, in the background.
  void add(Map map);
  // Closes them, whoever uses them. `removed` runs when the device is not in use any more.
  void remove(const std::string& name, std::function<void()> removed);
  // Other settings: opens what is asked for now, and closes what was asked for before and is not any more.
  void set_settings(const std::string& name, const ExportSettings& settings);

  // By command.
  [[nodiscard]] boost::asio::awaitable<CommandOutcome> open(std::string name, ExportKind kind);
  [[nodiscard]] boost::asio::awaitable<CommandOutcome> close(std::string name, ExportKind kind);

  // How it can be reached: "unix:/run/mpathd/nbd/ALIAS.sock", "/dev/nbd0".
  [[nodiscard]] std::vector<std::string> places(const std::string& name) const;
  // The name that stands where multipath prints dm-N: the disk's, else the socket's.
  [[nodiscard]] std::string device_name(const std::string& name) const;

  // The daemon ends: disks that nobody uses go, the others are left to the next process. Nothing is opened any more.
  [[nodiscard]] boost::asio::awaitable<void> leave();
  // Waits for what remove() began. Last.
  [[nodiscard]] boost::asio::awaitable<void> finish();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace mpath
