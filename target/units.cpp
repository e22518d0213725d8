#include "target/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "base/check.hpp"
#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "target/config/unit_state.hpp"
#include "target/drilled_store.hpp"
#include "target/replication/map_file.hpp"
#include "target/replication/replica.hpp"
#include "target/scsi/copy_peers.hpp"

namespace mpath::target {
namespace {

using boost::asio::awaitable;

// Everything that lives and dies together, the unit first.
struct Bundle {
  std::unique_ptr<StateLog> state_log;
  std::unique_ptr<DrilledStore> store;
  // One of two copies: between store and unit.
  std::unique_ptr<replication::MapFile> map;
  std::unique_ptr<replication::Replica> replica;
  std::unique_ptr<LogicalUnit> unit;

  // What the unit writes to.
  [[nodiscard]] Store& top() const { return replica != nullptr ? static_cast<Store&>(*replica) : *store; }
};

// Units by their NAA name, for copies between them. A lock is enough: copies are rare, and hold it for a look.
class Peers final : public CopyPeers {
 public:
  void add(const Uuid& uuid, std::shared_ptr<LogicalUnit> unit) {
    const std::lock_guard lock(mutex_);
    units_[naa6(uuid)] = std::move(unit);
  }
  void remove(const Uuid& uuid) {
    const std::lock_guard lock(mutex_);
    units_.erase(naa6(uuid));
  }
  [[nodiscard]] LogicalUnit* hold(const scsi::Designator& name) override {
    const std::lock_guard lock(mutex_);
    const auto place =
        std::ranges::find_if(units_, [&name](const auto& unit) { return std::ranges::equal(unit.first, name.bytes); });
    if (place == units_.end()) return nullptr;
    held_.push_back(place->second);
    return place->second.get();
  }
  void give_back(LogicalUnit& unit) override {
    std::shared_ptr<LogicalUnit> gone;  // ends outside of the lock
    const std::lock_guard lock(mutex_);
    const auto place = std::ranges::find(held_, &unit, &std::shared_ptr<LogicalUnit>::get);
    CHECK(place != held_.end());
    gone = std::move(*place);
    held_.erase(place);
  }

 private:
  std::mutex mutex_;
  // Shared, under the mutex.
  std::map<std::array<std::byte, 16>, std::shared_ptr<LogicalUnit>> units_;
  std::vector<std::shared_ptr<LogicalUnit>> held_;
};

const char* engine_name(StoreEngine engine) {
  switch (engine) {
    case StoreEngine::automatic:
      return "automatic";
    case StoreEngine::io_uring:
      return "io_uring";
    case StoreEngine::threads:
      return "threads";
  }
  return "";
}

}  // namespace

struct Units::Impl {
  struct Entry {
    LuConfig config;
    Uuid uuid{};
    Shard* shard = nullptr;
    std::shared_ptr<Bundle> bundle;  // null: offline
    std::string trouble;
  };
  struct Opened {
    Uuid uuid{};
    LuState state;
    std::unique_ptr<Store> store;
    std::optional<replication::MapFile::Opened> map;  // of a replicated unit
  };
  // Runs what answers with an error code on the unit's shard, and waits for the answer here.
  using Work = std::function<void(Bundle&, std::function<void(error_code)>)>;

  boost::asio::io_context& control;
  std::vector<Shard*> shards;
  boost::asio::thread_pool& pool;
  DirectoryOf directory;
  Log log;
  std::map<std::string, Entry> entries;
  std::size_t next_shard = 0;
  std::unique_ptr<Peers> peers = std::make_unique<Peers>();
  const Serving* serving = nullptr;

  // The one of the configuration, which is written down too, or the one of before.
  [[nodiscard]] static std::expected<Uuid, std::string> kept_uuid(const std::filesystem::path& place,
                                                                  const Uuid& configured) {
    if (configured == Uuid{}) return load_unit_uuid(place);
    if (auto kept = keep_unit_uuid(place, configured); !kept) return std::unexpected(kept.error());
    return configured;
  }

  [[nodiscard]] std::expected<Opened, std::string> open_blocking(const LuConfig& config, Shard& shard,
                                                                 const Log& about) {
    const auto place = directory(config.name);
    Opened opened;
    if (place.empty()) {
      opened.uuid = config.unit.uuid != Uuid{} ? config.unit.uuid : make_uuid();
      opened.state = first_state(config.unit);
    } else {
      auto uuid = kept_uuid(place, config.unit.uuid);
      if (!uuid) return std::unexpected(uuid.error());
      opened.uuid = *uuid;
      auto state = load_unit_state(place, config.unit);
      if (!state) return std::unexpected(state.error());
      opened.state = std::move(*state);
    }
    auto store = Store::open(shard, config.store, about);
    if (!store) return std::unexpected(store.error());
    opened.store = std::move(*store);
    if (!config.replicated) return opened;
    const std::uint64_t size = opened.store->limits().size_bytes;
    replication::DirtyMap::Shape shape{.size_bytes = size,
                                       .extent_bytes = replication::DirtyMap::extent_bytes_for(size)};
    std::ranges::copy(std::as_bytes(std::span(opened.uuid)), shape.unit.begin());
    auto map = replication::MapFile::open(place / "map", shape, shard, pool);
    if (!map) return std::unexpected(map.error());
    opened.map = std::move(*map);
    return opened;
  }

  awaitable<error_code> ask(std::shared_ptr<Bundle> bundle, Shard& shard, Work work) {
    auto there = [&work, &bundle](std::function<void(error_code)> answer) { work(*bundle, std::move(answer)); };
    co_return co_await ask_on<error_code>(shard, there);
  }

  awaitable<std::string> command(std::string name, std::string verb, Work work) {
    const auto place = entries.find(name);
    if (place == entries.end()) co_return fmt::format("there is no lu {}", name);
    if (place->second.bundle == nullptr) co_return fmt::format("lu {} is offline: {}", name, place->second.trouble);
    const std::shared_ptr<Bundle> bundle = place->second.bundle;
    const error_code error = co_await ask(bundle, *place->second.shard, work);
    if (!error) {
      log.notice("lu {}: {}", name, verb);
      co_return std::string();
    }
    co_return fmt::format("lu {}: {}: {}", name, verb, error.message());
  }
};

Units::Units(boost::asio::io_context& control, std::vector<Shard*> shards, boost::asio::thread_pool& pool,
             DirectoryOf directory, const Log& log)
    : impl_(std::make_unique<Impl>(Impl{control, std::move(shards), pool, std::move(directory), log, {}, 0})) {}

Units::~Units() = default;

awaitable<void> Units::open(LuConfig config, UnitPorts ports) {
  Impl::Entry entry{.config = config};
  entry.shard = impl_->shards[impl_->next_shard++ % impl_->shards.size()];
  const Log about = impl_->log.about("lu " + config.name);
  auto blocking = [this, &config, &entry, &about] { return impl_->open_blocking(config, *entry.shard, about); };
  auto opened = co_await offload(impl_->pool, blocking);
  if (!opened) {
    entry.trouble = opened.error();
    about.error("offline reason={}", mpath::quoted(entry.trouble));
    impl_->entries.insert_or_assign(config.name, std::move(entry));
    co_return;
  }
  entry.uuid = opened->uuid;
  LuOptions options = config.unit;
  options.uuid = opened->uuid;
  options.port_groups = std::move(ports.groups);
  options.ports = std::move(ports.ports);
  options.copy_peers = impl_->peers.get();
  auto make = [this, &config, &entry, &opened, &options, &about] {
    auto bundle = std::make_shared<Bundle>();
    const auto place = impl_->directory(config.name);
    if (place.empty())
      bundle->state_log = std::make_unique<VolatileStateLog>(*entry.shard);
    else
      bundle->state_log = std::make_unique<FileStateLog>(*entry.shard, impl_->pool, place, about);
    bundle->store = std::make_unique<DrilledStore>(std::move(opened->store), entry.shard->clock(), about);
    // check_drills() has passed it when the configuration was read.
    if (!config.drill.empty()) static_cast<void>(bundle->store->drill().set(config.drill));
    StateLog* log_of_state = bundle->state_log.get();
    if (opened->map) {
      CHECK(impl_->serving != nullptr);
      bundle->map = std::move(opened->map->file);
      bundle->replica = std::make_unique<replication::Replica>(
          replication::Replica::Seams{.local = *bundle->store,
                                      .map_store = *bundle->map,
                                      .local_state = *bundle->state_log,
                                      .serving = *impl_->serving,
                                      .clock = entry.shard->clock(),
                                      .buffers = entry.shard->buffers()},
          std::move(opened->map->map), opened->state, replication::ReplicaOptions{}, about);
      log_of_state = bundle->replica.get();
      options.serving = impl_->serving;
    }
    bundle->unit = std::make_unique<LogicalUnit>(*entry.shard, std::move(options), bundle->top(), *log_of_state,
                                                 std::move(opened->state), about);
    return bundle;
  };
  entry.bundle = co_await run_on(*entry.shard, make);
  about.notice("online uuid={} shard={}", format_uuid(entry.uuid), entry.shard->index());
  impl_->peers->add(entry.uuid, {entry.bundle, entry.bundle->unit.get()});
  impl_->entries.insert_or_assign(config.name, std::move(entry));
}

awaitable<bool> Units::close(std::string name) {
  auto place = impl_->entries.extract(name);
  if (place.empty() || place.mapped().bundle == nullptr) co_return true;
  const Impl::Entry& entry = place.mapped();
  impl_->peers->remove(entry.uuid);
  auto end_unit = [](Bundle& bundle, std::function<void(error_code)> answer) {
    bundle.unit->close([answer] { answer({}); });
  };
  const Impl::Work ending = end_unit;
  static_cast<void>(co_await impl_->ask(entry.bundle, *entry.shard, ending));
  auto end_store = [](Bundle& bundle, std::function<void(error_code)> answer) { bundle.top().close(answer); };
  const Impl::Work closing = end_store;
  const error_code error = co_await impl_->ask(entry.bundle, *entry.shard, closing);
  if (error) {
    impl_->log.error("lu {}: the medium could not be synchronised: {}", name, error.message());
  } else {
    impl_->log.notice("lu {}: closed", name);
  }
  co_return !error;
}

awaitable<bool> Units::close_all() {
  bool synchronised = true;
  while (!impl_->entries.empty()) {
    const bool closed = co_await close(impl_->entries.begin()->first);
    synchronised = synchronised && closed;
  }
  co_return synchronised;
}

std::shared_ptr<LogicalUnit> Units::find(const std::string& name) const {
  const auto place = impl_->entries.find(name);
  if (place == impl_->entries.end() || place->second.bundle == nullptr) return nullptr;
  return {place->second.bundle, place->second.bundle->unit.get()};
}

bool Units::offline(const std::string& name) const {
  const auto place = impl_->entries.find(name);
  return place != impl_->entries.end() && place->second.bundle == nullptr;
}

std::string Units::trouble(const std::string& name) const {
  return offline(name) ? impl_->entries.at(name).trouble : std::string();
}

void Units::set_serving(const Serving& serving) {
  impl_->serving = &serving;
}

std::vector<cluster::PairUnit> Units::replicated() const {
  std::vector<cluster::PairUnit> all;
  for (const auto& [name, entry] : impl_->entries) {
    if (!entry.config.replicated) continue;
    cluster::PairUnit unit{.name = name, .uuid = entry.uuid, .shard = entry.shard, .replica = nullptr, .unit = nullptr};
    unit.trouble = entry.trouble;
    if (entry.bundle != nullptr) {
      unit.replica = {entry.bundle, entry.bundle->replica.get()};
      unit.unit = {entry.bundle, entry.bundle->unit.get()};
    }
    all.push_back(std::move(unit));
  }
  return all;
}

bool Units::any_offline() const {
  return std::ranges::any_of(impl_->entries, [](const auto& entry) { return entry.second.bundle == nullptr; });
}

awaitable<std::vector<UnitReport>> Units::report() const {
  // Entries may change while a shard is asked: a copy is gone through.
  std::vector<Impl::Entry> all;
  for (const auto& [name, entry] : impl_->entries) all.push_back(entry);
  std::vector<UnitReport> reports;
  for (const Impl::Entry& entry : all) {
    UnitReport report{
        .config = entry.config, .uuid = entry.uuid, .shard = entry.shard->index(), .trouble = entry.trouble};
    if (entry.bundle != nullptr) {
      auto look = [&entry, &report] {
        const Bundle& bundle = *entry.bundle;
        report.status = bundle.unit->status();
        const Store::Usage usage = bundle.store->usage();
        report.allocated_bytes = usage.allocated_bytes;
        report.available_bytes = usage.available_bytes;
        report.engine = engine_name(bundle.store->engine());
        report.drill = bundle.store->drill().specs();
        report.drill_report = bundle.store->drill().report();
      };
      co_await run_on(*entry.shard, look);
    }
    reports.push_back(std::move(report));
  }
  co_return reports;
}

awaitable<std::string> Units::grow(std::string name, std::uint64_t size_bytes) {
  auto work = [size_bytes](Bundle& bundle, std::function<void(error_code)> answer) {
    bundle.top().grow(size_bytes, answer);
  };
  const Impl::Work growing = work;
  co_return co_await impl_->command(std::move(name), "grown", growing);
}

awaitable<std::string> Units::set_drill(std::string name, std::string specs) {
  std::optional<std::string> wrong;
  auto work = [&specs, &wrong](Bundle& bundle, std::function<void(error_code)> answer) {
    wrong = bundle.store->drill().set(specs);
    answer(wrong ? std::make_error_code(std::errc::invalid_argument) : error_code{});
  };
  const Impl::Work setting = work;
  std::string trouble =
      co_await impl_->command(std::move(name), specs.empty() ? "drills taken out" : "drilled", setting);
  co_return wrong ? *wrong : trouble;
}

awaitable<std::string> Units::set_ports(std::string name, UnitPorts ports) {
  auto work = [&ports](Bundle& bundle, std::function<void(error_code)> answer) {
    bundle.unit->set_ports(ports.groups, ports.ports);
    answer({});
  };
  const Impl::Work setting = work;
  co_return co_await impl_->command(std::move(name), "its ports changed", setting);
}

awaitable<std::string> Units::set_access_state(std::string name, std::uint16_t group, scsi::AccessState state) {
  auto work = [group, state](Bundle& bundle, std::function<void(error_code)> answer) {
    bundle.unit->set_access_state(group, state, answer);
  };
  const Impl::Work setting = work;
  const std::string verb = fmt::format("group {} is {}", group, scsi::name(state));
  co_return co_await impl_->command(std::move(name), verb, setting);
}

awaitable<std::string> Units::set_medium(std::string name, bool present) {
  auto work = [present](Bundle& bundle, std::function<void(error_code)> answer) {
    bundle.unit->set_medium(present);
    answer({});
  };
  const Impl::Work setting = work;
  co_return co_await impl_->command(std::move(name), present ? "medium inserted" : "medium ejected", setting);
}

awaitable<std::string> Units::clear_reservations(std::string name) {
  auto work = [](Bundle& bundle, std::function<void(error_code)> answer) { bundle.unit->clear_reservations(answer); };
  const Impl::Work clearing = work;
  co_return co_await impl_->command(std::move(name), "reservations cleared", clearing);
}

void Units::update_config(const LuConfig& config) {
  const auto place = impl_->entries.find(config.name);
  if (place != impl_->entries.end()) place->second.config = config;
}

}  // namespace mpath::target
