// The record store: one sqlite file in WAL mode, shared by daemon and tools. Every call is one transaction: a killed
// process leaves the record before or the record after, never half of one.
//
// Threads: one Store a thread (open another for another thread). Calls block (disk): the daemon goes through offload().
// Errors:  StoreErrc, or sqlite's own code with category "sqlite".
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "db/records.hpp"

namespace mpath::db {

enum class StoreErrc {
  not_found = 1,  // no such record
  exists,         // the record is there already
  unknown_key,    // no such setting, or not settable
  bad_value,      // outside the setting's type or range
  read_only,      // the file cannot be written
  damaged,        // not a database, or its integrity check failed
  newer_schema,   // made by a later version
  busy,           // a writer held the file longer than the (bounded) wait
};
[[nodiscard]] const std::error_category& store_category() noexcept;
[[nodiscard]] inline std::error_code make_error_code(StoreErrc errc) noexcept {
  return {static_cast<int>(errc), store_category()};
}

// Empty fields match everything.
struct NodeFilter {
  std::optional<std::string> target_name;
  std::optional<std::string> address;
  std::optional<std::uint16_t> port;
  std::optional<int> tpgt;
  std::optional<std::string> iface;
};

struct NodeAddress {  // one portal as discovery reports it
  std::string target_name;
  std::string address;
  std::uint16_t port = 3260;
  int tpgt = -1;
};

class Store {
 public:
  // Opens or creates (0600, parents 0700), and steps an older schema forward. `defaults` are values from iscsid.conf
  // that new records start with.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(const std::filesystem::path& file, Settings defaults = {});
  virtual ~Store() = default;

  // Nodes, ordered by key.
  [[nodiscard]] virtual Result<std::vector<NodeRecord>> nodes(const NodeFilter& filter) = 0;
  [[nodiscard]] virtual Result<NodeRecord> node(const NodeKey& key) = 0;
  [[nodiscard]] virtual error_code add_node(const NodeKey& key, const Settings& overrides) = 0;  // exists
  [[nodiscard]] virtual error_code update_node(const NodeKey& key,
                                               const Settings& changes) = 0;  // not_found, unknown_key, bad_value
  [[nodiscard]] virtual error_code remove_node(const NodeKey& key) = 0;

  // Discovery. merge_discovery stores what a discovery found, through each of `ifaces`: adds what is new, keeps every
  // value set on nodes that are known, removes records that only this discovery had made and that vanished
  // (unless keep_stale, or a session uses them: `in_use`). One transaction. Returns the keys found now.
  struct Merge {
    std::vector<NodeAddress> found;
    std::vector<std::string> ifaces;
    bool add_new = true;
    bool update_known = false;  // rewrite known nodes from the defaults: only when the administrator says -o update
    bool remove_stale = true;
    std::vector<NodeKey> in_use;
  };
  [[nodiscard]] virtual Result<std::vector<NodeKey>> merge_discovery(const DiscoveryKey& key, const Merge& merge) = 0;
  [[nodiscard]] virtual Result<std::vector<DiscoveryRecord>> discoveries() = 0;
  [[nodiscard]] virtual Result<DiscoveryRecord> discovery(const DiscoveryKey& key) = 0;
  [[nodiscard]] virtual error_code add_discovery(const DiscoveryKey& key, const Settings& overrides) = 0;
  [[nodiscard]] virtual error_code update_discovery(const DiscoveryKey& key, const Settings& changes) = 0;
  [[nodiscard]] virtual error_code remove_discovery(const DiscoveryKey& key) = 0;

  // Ifaces. "default" is built in: always listed, never edited.
  [[nodiscard]] virtual Result<std::vector<IfaceRecord>> ifaces() = 0;
  [[nodiscard]] virtual Result<IfaceRecord> iface(const std::string& name) = 0;
  [[nodiscard]] virtual error_code add_iface(const std::string& name, const Settings& overrides) = 0;
  [[nodiscard]] virtual error_code update_iface(const std::string& name, const Settings& changes) = 0;
  [[nodiscard]] virtual error_code remove_iface(const std::string& name) = 0;

  // Aliases of maps (multipath's bindings file): a WWID keeps its mpathX name for ever.
  [[nodiscard]] virtual Result<std::string> alias_for(const std::string& wwid, const std::string& prefix) = 0;
};

}  // namespace mpath::db

template <>
struct std::is_error_code_enum<mpath::db::StoreErrc> : std::true_type {};
