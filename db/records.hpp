// The records administrators know from open-iscsi: a key identifies one, `settings` are its "key = value" lines.
//
// Settings tables (db/settings.hpp) hold name, type, default, range and doc of every key; a record stores only values
// that differ from the defaults in force when it was made or that were set since.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mpath::db {

using Settings = std::map<std::string, std::string>;  // full key, e.g. "node.session.timeo.replacement_timeout"

struct NodeKey {
  std::string target_name;        // node.name
  std::string address;            // node.conn[0].address: numeric without brackets, or a host name
  std::uint16_t port = 3260;      // node.conn[0].port
  int tpgt = -1;                  // node.tpgt; -1 = unknown
  std::string iface = "default";  // iface.iscsi_ifacename
  friend auto operator<=>(const NodeKey&, const NodeKey&) = default;
};

struct NodeRecord {
  NodeKey key;
  Settings settings;  // complete: every key of the node table with its value in force
};

struct DiscoveryKey {
  std::string type = "sendtargets";
  std::string address;
  std::uint16_t port = 3260;
  friend auto operator<=>(const DiscoveryKey&, const DiscoveryKey&) = default;
};

struct DiscoveryRecord {
  DiscoveryKey key;
  Settings settings;
  std::vector<NodeKey> found;  // nodes whose record came from this discovery
};

struct IfaceRecord {
  std::string name;   // iface.iscsi_ifacename
  Settings settings;  // iface.* keys, complete
};

}  // namespace mpath::db
