// The third vote of a pair in etcd, instead of a witness of its own: `witness etcd://ADDRESS:PORT`.
//
//    question of this node ── SharedVoter ── compare and swap of /mptarget/CLUSTER/votes ── answer, as from a witness
//
// A pair that etcd has no votes of (it is new, or etcd was replaced) gets no answer until offer() was called: then the
// votes begin with that view.
//
// Threads:   the control loop. Ownership: clock is borrowed.
// Ending:    close(), from outside a callback.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/cluster/cluster_key.hpp"
#include "target/cluster/status.hpp"
#include "target/iscsi/portals.hpp"

namespace mpath::target::cluster {

struct EtcdWitnessOptions {
  std::vector<Portal> endpoints;
  std::string cluster;  // its name
  Duration lease{};
  Duration deadtime{};
};

class EtcdWitness {
 public:
  using Receive = std::function<void(const Message&)>;

  EtcdWitness(boost::asio::io_context& control, Clock& clock, EtcdWitnessOptions options, Receive receive,
              const Log& log);
  ~EtcdWitness();

  // A message to the witness. Answered later, or not at all, as on any link.
  void ask(const Message& question);
  // What the votes begin with where there are none: a view after which nothing can have been voted for that is not
  // known to this node. Taken note of; may be said often.
  void offer(const View& view);
  // From here on there are no callbacks.
  void stop();
  [[nodiscard]] boost::asio::awaitable<void> close();

  [[nodiscard]] LinkStatus status() const;
  // Why there are no answers; a line, empty when there are.
  [[nodiscard]] const std::string& trouble() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace mpath::target::cluster
