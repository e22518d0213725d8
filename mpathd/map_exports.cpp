#include "mpathd/map_exports.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/atomic_file.hpp"
#include "base/boot_id.hpp"
#include "base/event.hpp"
#include "base/latest_file.hpp"
#include "base/offload.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "exports/kernel_nbd.hpp"
#include "exports/kernel_sysfs.hpp"
#include "exports/nbd_disk.hpp"
#include "exports/tcmu_disk.hpp"
#include "exports/ublk_disk.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;
using nlohmann::json;

constexpr int record_version = 1;
constexpr std::size_t record_bytes_max = 1 << 20;
// Who closes a disk that was written has udev look at what is on it, for a moment.
constexpr auto short_look = std::chrono::seconds(3);
constexpr auto short_look_pause = std::chrono::milliseconds(100);
constexpr std::size_t udev_ways_max = 8;  // so many lines are in packaging/udev/60-mpathd.rules

// Of one map: what is open, and what an administrator wants otherwise than the configuration.
struct Remembered {
  ExportKinds open, wanted, unwanted;
  [[nodiscard]] bool empty() const { return open.empty() && wanted.empty() && unwanted.empty(); }
};
using Record = std::map<std::string, Remembered>;  // by WWID

struct RecordKey {
  const char* word;
  ExportKinds Remembered::*kinds;
};
constexpr std::array record_keys{RecordKey{"maps", &Remembered::open}, RecordKey{"wanted", &Remembered::wanted},
                                 RecordKey{"unwanted", &Remembered::unwanted}};

std::string to_text(const Record& record, const std::string& boot) {
  json root{{"version", record_version}, {"boot", boot}};
  for (const auto& [word, kinds] : record_keys) {
    json maps = json::object();
    for (const auto& [wwid, remembered] : record) {
      if (!(remembered.*kinds).empty()) maps[wwid] = to_text(remembered.*kinds);
    }
    root[word] = std::move(maps);
  }
  return root.dump(1) + "\n";
}

// Nothing of another boot, or of another format: no disk of the kernel is left of those.
Record read_record(const std::filesystem::path& file, const std::string& boot) {
  Record record;
  const auto text = read_file(file, record_bytes_max);
  if (!text) return record;
  const json root = json::parse(*text, nullptr, false);
  if (!root.is_object() || root.value("version", 0) != record_version || root.value("boot", "") != boot) return record;
  for (const auto& [word, kinds] : record_keys) {
    const auto maps = root.find(word);
    if (maps == root.end() || !maps->is_object()) continue;
    for (const auto& [wwid, words] : maps->items()) {
      if (!words.is_string()) continue;
      if (auto known = parse_export_kinds(words.get<std::string>())) record[wwid].*kinds = *known;
    }
  }
  return record;
}

// As udev has names in links: what could mean something else becomes an underscore.
std::string udev_safe(std::string_view text) {
  std::string safe(text);
  for (char& c : safe) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || std::string_view("#+-.:=@_").contains(c);
    if (!plain) c = '_';
  }
  return safe;
}

// What the disks of the root file system's mpathd are known by.
std::string root_identity(const std::string& wwid) { return "mpathd-root:" + wwid; }

const char* missing_what(ExportKind kind) {
  switch (kind) {
    case ExportKind::nbd: return "the kernel has no module nbd, or it cannot be loaded";
    case ExportKind::tcmu: return "the kernel has no modules target_core_user and tcm_loop, or they cannot be loaded";
    case ExportKind::ublk: return "the kernel has no module ublk_drv, or it cannot be loaded";
    case ExportKind::nbd_socket: break;
  }
  return "not there";
}

}  // namespace

std::unique_ptr<KernelDisk> make_kernel_disk(ExportKind kind, KernelDiskSetup setup) {
  switch (kind) {
    case ExportKind::nbd: return make_nbd_disk(std::move(setup));
    case ExportKind::tcmu: return make_tcmu_disk(std::move(setup));
    case ExportKind::ublk: return make_ublk_disk(std::move(setup));
    case ExportKind::nbd_socket: break;
  }
  return nullptr;
}

std::optional<std::string> find_nbd_disk(const std::string& identity) {
  const auto index = kernel_nbd::find(identity);
  if (!index) return std::nullopt;
  return "nbd" + std::to_string(*index);
}

struct MapExports::Impl : std::enable_shared_from_this<Impl> {
  struct Door {
    std::unique_ptr<KernelDisk> disk;  // none: the NBD socket
    std::string device;                // below /dev
  };
  // One map. Its doors are opened and closed one after the other: whoever works on them has the turn.
  struct Entry {
    Entry(Map given, const boost::asio::any_io_executor& executor) : map(std::move(given)), turn_over(executor) {}
    Map map;
    std::map<ExportKind, Door> doors;
    bool begun = false;  // what was noted before is of this process, not of a former one
    bool going = false;  // the map is, and nothing is opened any more
    bool busy = false;
    Event turn_over;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  explicit Impl(Surroundings given)
      : around(std::move(given)),
        tasks(around.control.get_executor()),
        closed(around.control.get_executor()),
        file(around.control.get_executor(), around.blocking, record_file(), [this](error_code error) {
          around.log.error("exports cannot be remembered over a restart: {}: {}", record_file().string(), error.message());
        }) {}

  [[nodiscard]] EntryPtr find(const std::string& name) const {
    const auto found = entries.find(name);
    return found == entries.end() ? nullptr : found->second;
  }
  static awaitable<void> take_turn(Entry& entry) {
    while (entry.busy) co_await entry.turn_over.wait_uncancelled();
    entry.busy = true;
    entry.turn_over.clear();
  }
  static void end_turn(Entry& entry) {
    entry.busy = false;
    entry.turn_over.set();
  }

  [[nodiscard]] std::filesystem::path record_file() const { return around.layout.run() / "exports.json"; }
  [[nodiscard]] std::filesystem::path udev_file(const std::string& device) const { return around.layout.run() / "udev" / device; }

  [[nodiscard]] awaitable<void> note(std::string wwid, ExportKind kind, bool open);
  [[nodiscard]] awaitable<void> note_wish(const Entry& entry, ExportKind kind, bool open);
  [[nodiscard]] awaitable<void> save();
  [[nodiscard]] awaitable<void> tell_udev(Entry& entry, std::string device);

  [[nodiscard]] awaitable<void> open_all(EntryPtr entry);
  [[nodiscard]] awaitable<void> close_all(EntryPtr entry, std::function<void()> removed);
  [[nodiscard]] awaitable<void> apply(EntryPtr entry, ExportKinds before);
  [[nodiscard]] awaitable<CommandOutcome> open_door(Entry& entry, ExportKind kind);
  [[nodiscard]] awaitable<CommandOutcome> open_socket(Entry& entry);
  [[nodiscard]] awaitable<CommandOutcome> close_door(Entry& entry, ExportKind kind, bool force);
  [[nodiscard]] awaitable<void> leave_entry(EntryPtr entry);
  [[nodiscard]] ExportKinds wanted(const ExportSettings& settings) const;

  Surroundings around;
  TaskGroup tasks;
  std::map<std::string, EntryPtr> entries;  // by name
  Record record;
  bool leaving = false;
  std::size_t closings = 0;  // maps that are going and have doors open
  Event closed;              // one of them has none any more

  const std::string boot = read_boot_id();
  LatestFile file;  // of the record
};

// ---- the record, and udev

awaitable<void> MapExports::Impl::save() {
  std::erase_if(record, [](const auto& each) { return each.second.empty(); });
  co_await file.save(to_text(record, boot));
}

awaitable<void> MapExports::Impl::note(std::string wwid, ExportKind kind, bool open) {
  ExportKinds& kinds = record[wwid].open;
  const bool changed = open ? kinds.insert(kind).second : kinds.erase(kind) > 0;
  if (changed) co_await save();
}

// An administrator's word. It counts when the map is made anew, too, until the configuration says something else.
awaitable<void> MapExports::Impl::note_wish(const Entry& entry, ExportKind kind, bool open) {
  Remembered& remembered = record[entry.map.wwid];
  remembered.wanted.erase(kind);
  remembered.unwanted.erase(kind);
  if (wanted(entry.map.settings).contains(kind) != open) (open ? remembered.wanted : remembered.unwanted).insert(kind);
  co_await save();
}

// What our udev rules need to name the disk; then udev looks at it again.
awaitable<void> MapExports::Impl::tell_udev(Entry& entry, std::string device) {
  const auto ways = co_await around.by_path(entry.map.wwid);
  std::string text = fmt::format("MPATH_NAME={}\nMPATH_WWID={}\n", udev_safe(entry.map.name), udev_safe(entry.map.wwid));
  for (std::size_t index = 0; index < std::min(ways.size(), udev_ways_max); ++index) {
    text += fmt::format("MPATH_WAY_{}={}\n", index, udev_safe(ways[index]));
  }
  auto write = [file = udev_file(device), text, device] {
    if (const error_code error = replace_file(file, text, 0644)) return error;
    return write_attribute("/sys/class/block/" + device + "/uevent", "change");
  };
  if (const error_code error = co_await offload(around.blocking, write)) {
    around.log.warning("map {}: udev cannot be told of {}: {}", entry.map.name, device, error.message());
  }
}

// ---- doors

// Unless something is written in multipath.conf: the socket, and /dev/nbdN where that can be had.
ExportKinds MapExports::Impl::wanted(const ExportSettings& settings) const {
  if (around.for_root) return {ExportKind::nbd};
  if (settings.kinds) return *settings.kinds;
  ExportKinds kinds{ExportKind::nbd_socket};
  if (::geteuid() == 0 && module_is_loaded("nbd")) kinds.insert(ExportKind::nbd);
  return kinds;
}

awaitable<void> MapExports::Impl::open_all(EntryPtr entry) {
  co_await take_turn(*entry);
  const auto found = record.find(entry->map.wwid);
  const Remembered remembered = found != record.end() ? found->second : Remembered();
  ExportKinds kinds = wanted(entry->map.settings);
  kinds.insert(remembered.wanted.begin(), remembered.wanted.end());
  for (const ExportKind kind : remembered.unwanted) kinds.erase(kind);
  const bool first = !std::exchange(entry->begun, true);
  if (first && !remembered.open.empty()) {
    kinds.insert(remembered.open.begin(), remembered.open.end());
    co_await around.former_ended(entry->map.wwid);
  }
  for (const ExportKind kind : kinds) {
    if (entry->going || leaving) break;
    const CommandOutcome outcome = co_await open_door(*entry, kind);
    // What nobody asked for by name is a convenience.
    const bool asked = entry->map.settings.kinds || kind == ExportKind::nbd_socket || remembered.wanted.contains(kind);
    if (!outcome.ok() && asked) {
      around.log.error("map {}: cannot be exported as {}: {}", entry->map.name, word_of(kind), outcome.text);
    } else if (!outcome.ok()) {
      around.log.info("map {}: not exported as {}: {}", entry->map.name, word_of(kind), outcome.text);
    }
  }
  end_turn(*entry);
}

awaitable<CommandOutcome> MapExports::Impl::open_socket(Entry& entry) {
  if (const error_code error = around.nbd.add_export(entry.map.name, *entry.map.device, *entry.map.shard)) {
    co_return CommandOutcome{CommandStatus::failed, error.message()};
  }
  entry.doors[ExportKind::nbd_socket];
  const auto socket = around.layout.nbd_sockets() / (entry.map.name + ".sock");
  std::error_code ignored;
  std::filesystem::permissions(socket, std::filesystem::perms(entry.map.settings.nbd_socket_mode), ignored);
  around.log.notice("map {}: exported as {}", entry.map.name, socket.string());
  co_await note(entry.map.wwid, ExportKind::nbd_socket, true);
  co_return CommandOutcome{};
}

awaitable<CommandOutcome> MapExports::Impl::open_door(Entry& entry, ExportKind kind) {
  if (entry.doors.contains(kind)) co_return CommandOutcome{};
  if (around.for_root && kind != ExportKind::nbd) co_return CommandOutcome{CommandStatus::not_supported, "this mpathd serves the root file system, as nbd"};
  if (kind == ExportKind::nbd_socket) co_return co_await open_socket(entry);
  const std::string of_root = root_identity(entry.map.wwid);
  if (!around.for_root) {
    auto look = [this, &of_root] { return around.find_nbd(of_root); };
    const auto taken = co_await offload(around.blocking, look);
    if (taken) co_return CommandOutcome{CommandStatus::in_use, fmt::format("it is /dev/{} already, by the mpathd of the root file system", *taken)};
  }
  std::weak_ptr<Impl> self = weak_from_this();
  auto lost = [self, name = entry.map.name, kind](const std::string&) {
    if (const auto impl = self.lock()) {
      if (const EntryPtr gone = impl->find(name)) {
        impl->tasks.spawn([impl, gone, kind]() -> awaitable<void> {
          co_await take_turn(*gone);
          static_cast<void>(co_await impl->close_door(*gone, kind, true));
          end_turn(*gone);
        });
      }
    }
  };
  KernelDiskSetup setup{.control = around.control,
                        .blocking = around.blocking,
                        .device = *entry.map.device,
                        .shard = *entry.map.shard,
                        .identity = around.for_root ? of_root : entry.map.wwid,
                        .name = entry.map.name,
                        .log = around.log,
                        .on_lost = std::move(lost)};
  auto disk = around.maker(kind, std::move(setup));
  if (disk == nullptr) co_return CommandOutcome{CommandStatus::not_supported, "not in this build"};
  // First: a disk that nobody knows of would be worse than a note of one that is not there.
  co_await note(entry.map.wwid, kind, true);
  const auto device = co_await disk->attach();
  if (!device) {
    co_await note(entry.map.wwid, kind, false);
    const bool absent = device.error() == std::errc::no_such_device;
    co_return CommandOutcome{CommandStatus::failed, absent ? missing_what(kind) : device.error().message()};
  }
  entry.doors[kind] = Door{std::move(disk), *device};
  around.log.notice("map {}: exported as /dev/{}", entry.map.name, *device);
  co_await tell_udev(entry, *device);
  co_return CommandOutcome{};
}

awaitable<CommandOutcome> MapExports::Impl::close_door(Entry& entry, ExportKind kind, bool force) {
  const auto place = entry.doors.find(kind);
  if (place == entry.doors.end()) co_return CommandOutcome{};
  if (kind == ExportKind::nbd_socket) {
    Event removed(around.control.get_executor());
    if (around.nbd.remove_export(entry.map.name, [&removed] { removed.set(); })) co_await removed.wait_uncancelled();
  } else {
    if (const error_code error = co_await place->second.disk->detach(force)) {
      if (error == std::errc::device_or_resource_busy) {
        co_return CommandOutcome{CommandStatus::in_use, fmt::format("/dev/{} is in use", place->second.device)};
      }
      around.log.warning("map {}: /dev/{}: {}", entry.map.name, place->second.device, error.message());
    }
    auto forget = [file = udev_file(place->second.device)] { return remove_file(file); };
    static_cast<void>(co_await offload(around.blocking, forget));
    around.log.notice("map {}: /dev/{} is gone", entry.map.name, place->second.device);
  }
  entry.doors.erase(place);
  co_await note(entry.map.wwid, kind, false);
  co_return CommandOutcome{};
}

awaitable<void> MapExports::Impl::close_all(EntryPtr entry, std::function<void()> removed) {
  co_await take_turn(*entry);
  while (!entry->doors.empty()) static_cast<void>(co_await close_door(*entry, entry->doors.begin()->first, true));
  end_turn(*entry);
  removed();
  --closings;
  closed.set();
}

awaitable<void> MapExports::Impl::apply(EntryPtr entry, ExportKinds before) {
  co_await take_turn(*entry);
  const ExportKinds now = wanted(entry->map.settings);
  for (const ExportKind kind : before) {
    if (now.contains(kind)) continue;
    const CommandOutcome outcome = co_await close_door(*entry, kind, false);
    if (!outcome.ok()) around.log.warning("map {}: stays exported as {}: {}", entry->map.name, word_of(kind), outcome.text);
  }
  end_turn(*entry);
  co_await open_all(entry);
}

// A disk that somebody uses stays, and what was asked of it and not answered is for the next process.
awaitable<void> MapExports::Impl::leave_entry(EntryPtr entry) {
  co_await take_turn(*entry);
  for (auto& [kind, door] : entry->doors) {
    // The socket is closed in order with its server, and its clients come back to the next one.
    if (door.disk == nullptr) {
      co_await note(entry->map.wwid, kind, false);
      continue;
    }
    const error_code error = co_await door.disk->detach(false);
    if (error == std::errc::device_or_resource_busy) {
      around.log.notice("map {}: /dev/{} is in use and waits for the next mpathd", entry->map.name, door.device);
      co_await door.disk->leave();
      continue;
    }
    auto forget = [file = udev_file(door.device)] { return remove_file(file); };
    static_cast<void>(co_await offload(around.blocking, forget));
    co_await note(entry->map.wwid, kind, false);
  }
  std::erase_if(entry->doors, [](const auto& each) { return each.second.disk != nullptr; });
  end_turn(*entry);
}

// ---- the outside

MapExports::MapExports(Surroundings surroundings) : impl_(std::make_shared<Impl>(std::move(surroundings))) {}
MapExports::~MapExports() = default;

awaitable<void> MapExports::begin() {
  auto read = [impl = impl_.get()] { return read_record(impl->record_file(), impl->boot); };
  impl_->record = co_await offload(impl_->around.blocking, read);
}

void MapExports::add(Map map) {
  if (impl_->leaving) return;
  const std::string name = map.name;
  auto entry = std::make_shared<Impl::Entry>(std::move(map), impl_->around.control.get_executor());
  impl_->entries[name] = entry;
  impl_->tasks.spawn(impl_->open_all(entry));
}

void MapExports::remove(const std::string& name, std::function<void()> removed) {
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr) return removed();
  entry->going = true;
  impl_->entries.erase(name);
  ++impl_->closings;
  impl_->tasks.spawn(impl_->close_all(entry, std::move(removed)));
}

void MapExports::set_settings(const std::string& name, const ExportSettings& settings) {
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr || entry->map.settings == settings) return;
  const ExportKinds before = impl_->wanted(entry->map.settings);
  entry->map.settings = settings;
  if (const auto found = impl_->record.find(entry->map.wwid); found != impl_->record.end()) found->second.wanted = found->second.unwanted = {};
  impl_->tasks.spawn(impl_->apply(entry, before));
}

awaitable<CommandOutcome> MapExports::open(std::string name, ExportKind kind) {
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr) co_return CommandOutcome{CommandStatus::not_found, "no such map"};
  const auto impl = impl_;
  co_await Impl::take_turn(*entry);
  CommandOutcome outcome{CommandStatus::failed, "mpathd is stopping"};
  if (!entry->going && !impl->leaving) {
    outcome = co_await impl->open_door(*entry, kind);
    if (outcome.ok()) co_await impl->note_wish(*entry, kind, true);
  }
  Impl::end_turn(*entry);
  co_return outcome;
}

awaitable<CommandOutcome> MapExports::close(std::string name, ExportKind kind) {
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr) co_return CommandOutcome{CommandStatus::not_found, "no such map"};
  const auto impl = impl_;
  co_await Impl::take_turn(*entry);
  CommandOutcome outcome{CommandStatus::failed, fmt::format("it is not exported as {}", word_of(kind))};
  const TimePoint limit = impl->around.clock.now() + short_look;
  while (entry->doors.contains(kind)) {
    outcome = co_await impl->close_door(*entry, kind, false);
    if (outcome.status != CommandStatus::in_use || impl->around.clock.now() > limit) break;
    if (co_await sleep_for(impl->around.clock, short_look_pause)) break;
  }
  if (outcome.ok()) co_await impl->note_wish(*entry, kind, false);
  Impl::end_turn(*entry);
  co_return outcome;
}

std::vector<std::string> MapExports::places(const std::string& name) const {
  std::vector<std::string> all;
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr) return all;
  for (const auto& [kind, door] : entry->doors) {
    const auto socket = impl_->around.layout.nbd_sockets() / (name + ".sock");
    all.push_back(kind == ExportKind::nbd_socket ? "unix:" + socket.string() : "/dev/" + door.device);
  }
  return all;
}

std::string MapExports::device_name(const std::string& name) const {
  const Impl::EntryPtr entry = impl_->find(name);
  if (entry == nullptr || entry->doors.empty()) return {};
  const auto& last = *entry->doors.rbegin();  // the socket's kind comes first
  return last.first == ExportKind::nbd_socket ? name + ".sock" : last.second.device;
}

awaitable<void> MapExports::leave() {
  impl_->leaving = true;
  const auto entries = impl_->entries;
  for (const auto& [name, entry] : entries) co_await impl_->leave_entry(entry);
}

awaitable<void> MapExports::finish() {
  while (impl_->closings > 0) {
    impl_->closed.clear();
    co_await impl_->closed.wait_uncancelled();
  }
  co_await impl_->tasks.close();
}

}  // namespace mpath
