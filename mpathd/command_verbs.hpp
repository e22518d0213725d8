// The verbs `mpath` and `topology` of the control socket (base/control.hpp), answered by mpathd/command.
#pragma once

#include <functional>
#include <memory>

#include "mpathd/map_control.hpp"
#include "mpathd/multipath_config.hpp"

namespace mpath {

namespace control {
class Server;
}

// `maps` is borrowed and must outlive the server; `config` gives the settings in force and is asked for each command.
void add_command_verbs(control::Server& server, MapControl& maps,
                       std::function<std::shared_ptr<const MultipathConfig>()> config);

}  // namespace mpath
