// What the control socket of mptargetd answers: the verbs behind mptargetctl (base/control.hpp has the protocol).
//
//   daemon.status {}                          -> {"pid","version","portals":[...]}
//   show.targets|sessions|reservations|lus|portals|accounts {}   -> {"targets":[...]} and so on
//   show.config {}                            -> {"text"}
//   object.create|add|drop {"kind","label","entries":[[KEY,WORD...]...],"create"?}   -> {"plan":[LINE...]}
//   object.remove {"kind","label"}            -> the same
//   lu.grow {"lu","size"?}  lu.alua {"lu","group","state"}  lu.medium {"lu","present"}  lu.drill {"lu","specs"}
//   lu.clear_reservations {"lu"}  session.disconnect {"sid"}      -> {}
//   reload {}  shutdown {}                    -> {"plan":[...]}, {}
#pragma once

#include "base/control_server.hpp"

namespace mpath::target {

class TargetDaemon;

// `daemon` is borrowed and outlives the server.
void add_target_verbs(control::Server& server, TargetDaemon& daemon);

}  // namespace mpath::target
