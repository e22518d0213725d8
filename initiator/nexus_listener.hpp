// Who wants to know of every nexus: mpathd's main gives one to the SessionManager and turns nexuses into paths.
//
// Threads: both members are called on the nexus's own shard, so a listener that serves several shards keeps its state
//          apart per shard.
#pragma once

#include "base/shard.hpp"
#include "initiator/nexus.hpp"

namespace mpath {

class NexusListener {
 public:
  virtual ~NexusListener() = default;
  // Before start(): the moment to add an observer, so that not even the first login is missed.
  virtual void on_nexus_created(Nexus& nexus, Shard& shard) = 0;
  // It has stopped and is destroyed when this returns: every observer must be gone, every pointer forgotten.
  virtual void on_nexus_stopped(Nexus& nexus) = 0;
};

}  // namespace mpath
