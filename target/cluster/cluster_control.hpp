// The pair as administrators command it: what the verbs of target/cluster/cluster_verbs.hpp ask of the daemon.
//
// Threads: the control thread.
// Answers: a command is answered when it is done, or begun where it takes its time (resync, verify): the status tells
// of
//          the rest. An error is one line for people; one that begins with "there is no " is about a name.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <expected>
#include <string>
#include <vector>

#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

// Replicated units by name; none: all.
using UnitNames = std::vector<std::string>;

class ClusterControl {
 public:
  using Done = std::expected<void, std::string>;

  virtual ~ClusterControl() = default;
  [[nodiscard]] virtual const ClusterConfig& config() const = 0;
  [[nodiscard]] virtual ClusterStatus status() = 0;
  // The latest `most`, oldest first.
  [[nodiscard]] virtual std::vector<Decision> decisions(std::size_t most) = 0;

  // The data of this node counts: the first view is made, with this node as primary, alone in sync. Refused when there
  // is a record already, unless `force`: then what was decided before is given up, and with it writes that only the
  // other node has.
  [[nodiscard]] virtual boost::asio::awaitable<Done> init(bool force) = 0;
  // The data of the other node counts: this one forgets its own, and is filled.
  [[nodiscard]] virtual boost::asio::awaitable<Done> join() = 0;
  // The node that does not serve is to. Said on either node.
  [[nodiscard]] virtual boost::asio::awaitable<Done> switchover() = 0;
  // On: no takeover and no fail-back by itself, until off is said. Kept over restarts.
  [[nodiscard]] virtual boost::asio::awaitable<Done> maintenance(bool on) = 0;
  // On: this node gives service away and does not take over by itself, until off is said. Kept over restarts.
  [[nodiscard]] virtual boost::asio::awaitable<Done> standby(bool on) = 0;
  // The stream to the other copy is made again; is closed, and not made by itself.
  [[nodiscard]] virtual boost::asio::awaitable<Done> connect(UnitNames units) = 0;
  [[nodiscard]] virtual boost::asio::awaitable<Done> disconnect(UnitNames units) = 0;
  // After a split: what only this node has is given up, and it is filled with what the other has.
  [[nodiscard]] virtual boost::asio::awaitable<Done> discard() = 0;
  // The copy of this node is given up and filled anew. Refused while nobody else has what it has.
  [[nodiscard]] virtual boost::asio::awaitable<Done> invalidate(UnitNames units) = 0;
  // The copies are compared; blocks that differ are named in the log and, with `repair`, copied from the primary.
  [[nodiscard]] virtual boost::asio::awaitable<Done> verify(UnitNames units, bool repair) = 0;
  // What may differ is looked at again, from the beginning.
  [[nodiscard]] virtual boost::asio::awaitable<Done> resync(UnitNames units) = 0;
};

}  // namespace mpath::target::cluster
