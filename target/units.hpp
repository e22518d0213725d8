// The logical units of the daemon: each with its store, its state and its shard.
//
// A unit that cannot be opened is offline: it says why, the others serve, and the next reload tries again.
//
// Threads:   the control thread; units themselves live on their shards.
// Ownership: a unit is kept alive by the pictures of targets that hold it, and ends when its last one is gone. close()
//            has ended everything in it before.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "target/cluster/pair.hpp"
#include "target/config/plan.hpp"

namespace mpath {
class Shard;
}

namespace mpath::target {

struct UnitReport {
  LuConfig config;
  Uuid uuid{};
  unsigned shard = 0;
  std::optional<LuStatus> status;  // none: offline
  std::string trouble;
  std::uint64_t allocated_bytes = 0, available_bytes = 0;
  std::string engine;
  std::string drill, drill_report;
};

class Units {
 public:
  // Where a unit keeps its UUID and state; empty: it keeps nothing.
  using DirectoryOf = std::function<std::filesystem::path(const std::string& unit)>;
  // `shards` and `pool` are borrowed; the shards run.
  Units(boost::asio::io_context& control, std::vector<Shard*> shards, boost::asio::thread_pool& pool,
        DirectoryOf directory, const Log& log);
  ~Units();

  // Never fails: what goes wrong is the unit's trouble, and one line of the log.
  [[nodiscard]] boost::asio::awaitable<void> open(LuConfig config, UnitPorts ports);
  // Takes the unit out of service; returns when nothing of it touches the medium any more.
  // False: the medium could not be synchronised.
  [[nodiscard]] boost::asio::awaitable<bool> close(std::string name);
  [[nodiscard]] boost::asio::awaitable<bool> close_all();

  // Null: there is none, or it is offline.
  [[nodiscard]] std::shared_ptr<LogicalUnit> find(const std::string& name) const;
  [[nodiscard]] bool offline(const std::string& name) const;
  // Until when this node of a pair may answer: before the first replicated unit is opened. Borrowed.
  void set_serving(const Serving& serving);
  // The replicated ones, the offline ones too; whoever holds them keeps them alive. Their port groups are not known
  // here.
  [[nodiscard]] std::vector<cluster::PairUnit> replicated() const;
  [[nodiscard]] bool any_offline() const;
  // Why it is offline; empty when it is not.
  [[nodiscard]] std::string trouble(const std::string& name) const;
  [[nodiscard]] boost::asio::awaitable<std::vector<UnitReport>> report() const;

  // Words of administrators; empty: done. Otherwise one line why not.
  [[nodiscard]] boost::asio::awaitable<std::string> grow(std::string name, std::uint64_t size_bytes);
  [[nodiscard]] boost::asio::awaitable<std::string> set_drill(std::string name, std::string specs);
  [[nodiscard]] boost::asio::awaitable<std::string> set_ports(std::string name, UnitPorts ports);
  [[nodiscard]] boost::asio::awaitable<std::string> set_access_state(std::string name, std::uint16_t group,
                                                                     scsi::AccessState state);
  [[nodiscard]] boost::asio::awaitable<std::string> set_medium(std::string name, bool present);
  [[nodiscard]] boost::asio::awaitable<std::string> clear_reservations(std::string name);
  // The configuration of a unit in use changed in what it does not need to be opened anew for.
  void update_config(const LuConfig& config);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath::target
