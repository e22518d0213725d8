// The words about the pair that the control socket of mptargetd answers (base/control.hpp has the protocol).
//
//   cluster.status {}                         -> {"status":{...}}             status_json.hpp
//   cluster.log {"most":N}                    -> {"decisions":[{"at","view","what"}...]}
//   cluster.what_if {"event":WORD}            -> {"lines":[LINE...]}
//   cluster.init {"force":bool}  cluster.join {}  cluster.switchover {}  cluster.maintenance {"on":bool}   -> {}
//   cluster.standby {"on":bool}  cluster.discard {}   -> {}
//   cluster.connect|disconnect|invalidate|resync {"lus":[NAME...]}  cluster.verify {"lus","repair":bool}   -> {}
#pragma once

#include <functional>

#include "base/control_server.hpp"
#include "target/cluster/cluster_control.hpp"

namespace mpath::target::cluster {

// `find` answers with the pair, or with nothing where none is configured; it is asked at each word.
void add_cluster_verbs(control::Server& server, std::function<ClusterControl*()> find);

}  // namespace mpath::target::cluster
