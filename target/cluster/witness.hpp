// The third voter of a pair: WitnessFsm on real links and a real medium. It knows no addresses of the nodes: answers go
// back to where the questions came from.
//
// A witness without a record of its own does not know whether it has voted: its state may have been lost. It says
// nothing until it has heard both nodes, and begins with the later of what they know: a view that was decided with
// its vote is known to the node that proposed it.
//
// Threads:   one loop. The record is written on it: whatever the witness says waits for that in any case.
// Ownership: clock is borrowed.
// Ending:    at any moment; there is nothing to put in order.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/cluster/agreement_links.hpp"
#include "target/cluster/cluster_key.hpp"
#include "target/cluster/life_file.hpp"
#include "target/replication/node_fsm.hpp"
#include "target/replication/record_file.hpp"
#include "target/replication/witness_fsm.hpp"

namespace mpath::target::cluster {

struct WitnessOptions {
  std::string cluster;
  ClusterKeys keys;
  std::vector<Portal> listen;
  std::filesystem::path directory;
  Duration lease = replication::NodeOptions().lease;  // at least what the nodes are configured with
};

class Witness {
 public:
  Witness(boost::asio::io_context& control, Clock& clock, WitnessOptions options, const Log& log);

  // Blocks for a moment. Fails with one line.
  [[nodiscard]] std::expected<void, std::string> start();
  // From here on.
  void set_keys(const ClusterKeys& keys);
  // The record cannot be written: it has ended its part, and is to be started again when that was mended.
  std::function<void()> on_failure;

  [[nodiscard]] bool votes() const { return fsm_ && !waits_for_both_; }
  [[nodiscard]] const VoteRecord& record() const { return fsm_->record(); }
  [[nodiscard]] const AgreementLinks& links() const { return *links_; }

 private:
  [[nodiscard]] std::vector<Key> frame_keys() const;
  void on_message(const Message& message);
  [[nodiscard]] bool both_heard(const Message& message);
  void take(const Message& message);

  // Constant after construction.
  boost::asio::io_context& control_;
  Clock& clock_;
  WitnessOptions options_;
  Log log_;

  std::optional<replication::RecordFile> file_;
  std::optional<LifeFile> life_;
  std::optional<replication::WitnessFsm> fsm_;
  std::optional<AgreementLinks> links_;
  bool waits_for_both_ = false;
  std::array<View, 2> heard_;  // of a and b, while it waits
  bool failed_ = false;
};

}  // namespace mpath::target::cluster
