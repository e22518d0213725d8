// This node of a pair: the agreement, the copies of its units, the streams between them, and what initiators and
// administrators see of it.
//
//   links ──► Agreement ──► Roles ──► Orders ──► Replica of each unit (its shard) ──► Report ──┐
//                 ▲                                                                            │
//                 └────────────────────────────────────────────────────────────────────────────┘
//   who serves ──► Serving (the lease, all shards), access states of the units, the virtual IP, the decision log
//
// Order:     to serve, every copy has left what it did before, every unit has taken over, and the view is kept; only
//            then does Serving say so, do the groups become optimized and is the virtual IP put on. To stop, Serving
//            goes first.
// Service:   a node that serves and that no cable leads to any more, as far as its own addresses tell, hands over.
// Threads:   the control thread; copies and units are reached by posts to their shards.
// Ownership: everything it is given is borrowed. Destroy after stop() has ended.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/shard.hpp"
#include "target/cluster/cluster_control.hpp"
#include "target/cluster/virtual_service.hpp"
#include "target/replication/replica.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/serving.hpp"

namespace mpath::target::cluster {

// A replicated unit as the daemon opened it.
struct PairUnit {
  std::string name;
  Uuid uuid{};
  Shard* shard = nullptr;
  std::shared_ptr<replication::Replica> replica;  // null: it could not be opened; `trouble` says why
  std::shared_ptr<LogicalUnit> unit;
  std::vector<std::uint16_t> own_groups, peer_groups;  // target port groups of this node and of the other
  std::string trouble;
};

class Pair final : public ClusterControl {
 public:
  Pair(boost::asio::io_context& control, Clock& clock, boost::asio::thread_pool& pool, ClusterConfig config,
       std::filesystem::path directory, VirtualService::Doors doors, std::vector<std::string> service_addresses,
       const Log& log);
  ~Pair() override;

  // For LuOptions::serving and the copies.
  [[nodiscard]] const Serving& serving() const;
  // Whether the virtual IP may stay: this node may answer, or will in a moment. Looks at the clock, so that a process
  // that stood still knows at once.
  [[nodiscard]] bool keeps_address() const;

  // How all initiators' connections are reset (Sessions::drop_all()): when this node may not answer any more, and does
  // not know who may. Before start().
  void set_drop_initiators(std::function<boost::asio::awaitable<std::size_t>(const char* why)> drop);

  // First thing, before anything listens. The key, the decision log; a virtual IP that a killed life left goes. The
  // error is a line for people.
  [[nodiscard]] std::expected<void, std::string> prepare();
  // The key file was changed: what is sent and accepted from here on; streams that are there go on. True: other keys.
  // The error is a line for people, and the keys stay as they are.
  [[nodiscard]] boost::asio::awaitable<std::expected<bool, std::string>> read_keys_again();
  // Once, with all replicated units.
  [[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> start(std::vector<PairUnit> units);
  // The other node is asked to take over, if it can; then nothing is served or sent any more. Units may be closed after
  // it, and then finish() ends the part in the agreement.
  [[nodiscard]] boost::asio::awaitable<void> stop();
  // `in_order`: all stores were synchronised.
  [[nodiscard]] boost::asio::awaitable<void> finish(bool in_order);

  // --- ClusterControl
  [[nodiscard]] const ClusterConfig& config() const override;
  [[nodiscard]] ClusterStatus status() override;
  [[nodiscard]] std::vector<Decision> decisions(std::size_t most) override;
  [[nodiscard]] boost::asio::awaitable<Done> init(bool force) override;
  [[nodiscard]] boost::asio::awaitable<Done> join() override;
  [[nodiscard]] boost::asio::awaitable<Done> switchover() override;
  [[nodiscard]] boost::asio::awaitable<Done> maintenance(bool on) override;
  [[nodiscard]] boost::asio::awaitable<Done> standby(bool on) override;
  [[nodiscard]] boost::asio::awaitable<Done> connect(UnitNames units) override;
  [[nodiscard]] boost::asio::awaitable<Done> disconnect(UnitNames units) override;
  [[nodiscard]] boost::asio::awaitable<Done> discard() override;
  [[nodiscard]] boost::asio::awaitable<Done> invalidate(UnitNames units) override;
  [[nodiscard]] boost::asio::awaitable<Done> verify(UnitNames units, bool repair) override;
  [[nodiscard]] boost::asio::awaitable<Done> resync(UnitNames units) override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // what is on its way from the shards holds on to it weakly
};

}  // namespace mpath::target::cluster
