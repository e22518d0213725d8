#include "db/sqlite_store.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <compare>
#include <set>
#include <utility>

#include "db/database_file.hpp"
#include "db/settings.hpp"

namespace mpath::db {
namespace {

using Kind = Transaction::Kind;

class StoreCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "store"; }
  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<StoreErrc>(code)) {
      case StoreErrc::not_found:
        return "no such record";
      case StoreErrc::exists:
        return "the record exists already";
      case StoreErrc::unknown_key:
        return "no such setting, or it cannot be set";
      case StoreErrc::bad_value:
        return "value not allowed for this setting";
      case StoreErrc::read_only:
        return "the database is read-only";
      case StoreErrc::damaged:
        return "the database is damaged or not a database of this program";
      case StoreErrc::newer_schema:
        return "the database was made by a later version";
      case StoreErrc::busy:
        return "the database is in use by another process";
    }
    return "unknown";
  }
};

// The three kinds of settings rows, by table.
enum class Rows { node, discovery, iface };

std::string sql_for(Rows rows, const char* before, const char* after) {
  const char* table = "";
  switch (rows) {
    case Rows::node:
      table = "node_setting";
      break;
    case Rows::discovery:
      table = "discovery_setting";
      break;
    case Rows::iface:
      table = "iface_setting";
      break;
  }
  return std::string(before) + table + after;
}

// Writes rows; an existing key gets the new value.
template <typename Owner>
error_code put(Database& database, Rows rows, const Owner& owner, const Settings& settings) {
  Query query(database, sql_for(rows, "INSERT OR REPLACE INTO ", " (owner, key, value) VALUES (?, ?, ?)"));
  for (const auto& [key, value] : settings) query.with(owner, key, value).run();
  return query.error();
}

template <typename Owner>
error_code overlay_stored(Database& database, Rows rows, const Owner& owner, Settings& settings) {
  Query query(database, sql_for(rows, "SELECT key, value FROM ", " WHERE owner = ?"));
  query.with(owner);
  while (query.next()) settings.insert_or_assign(query.text(0), query.text(1));
  return query.error();
}

void overlay(Settings& settings, const Settings& over) {
  for (const auto& [key, value] : over) settings.insert_or_assign(key, value);
}

bool in_table(std::span<const Setting> table, std::string_view key) {
  return std::ranges::any_of(table, [key](const Setting& row) { return row.key == key; });
}

// `changes` as they are stored. Identity keys pass only when they say what the record is anyway (`identity`).
Result<Settings> checked(std::span<const Setting> table, const Settings& changes, const Settings& identity) {
  Settings good;
  for (const auto& [key, value] : changes) {
    const Setting* setting = find_setting(key);
    if (setting == nullptr || !in_table(table, key)) return failure(StoreErrc::unknown_key);
    auto stored = normalise(*setting, value);
    if (setting->use == SettingUse::identity) {
      const auto is = identity.find(key);
      if (is == identity.end() || !stored || *stored != is->second) return failure(StoreErrc::unknown_key);
      continue;
    }
    if (!stored) return failure(stored.error());
    good.emplace(key, *std::move(stored));
  }
  return good;
}

// The settable values of `conf` that belong to the table.
Settings conf_part(std::span<const Setting> table, const Settings& conf) {
  Settings part;
  for (const Setting& row : table) {
    if (row.use == SettingUse::identity) continue;
    if (const auto found = conf.find(std::string(row.key)); found != conf.end()) part.insert(*found);
  }
  return part;
}

bool binds_twice(const Settings& settings) {
  const auto is_set = [&settings](const char* key) {
    const auto found = settings.find(key);
    return found != settings.end() && !found->second.empty();
  };
  return is_set("iface.hwaddress") && is_set("iface.net_ifacename");
}

Settings identity_of(const NodeKey& key) {
  return {{"node.name", key.target_name},
          {"node.tpgt", std::to_string(key.tpgt)},
          {"node.conn[0].address", key.address},
          {"node.conn[0].port", std::to_string(key.port)},
          {"iface.iscsi_ifacename", key.iface}};
}

Settings identity_of(const DiscoveryKey& key) {
  const std::string prefix = "discovery." + key.type;
  return {
      {"discovery.type", key.type}, {prefix + ".address", key.address}, {prefix + ".port", std::to_string(key.port)}};
}

// How a node's record came to be; stored with its settings.
Settings origin_of(const DiscoveryKey& key) {
  return {{"node.discovery_address", key.address},
          {"node.discovery_port", std::to_string(key.port)},
          {"node.discovery_type", key.type == "sendtargets" ? "send_targets" : key.type}};
}

bool is_name(std::string_view text, std::size_t size_max) {
  return !text.empty() && text.size() <= size_max &&
         std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

bool is_valid(const NodeKey& key) {
  return is_name(key.target_name, 223) && is_name(key.address, 255) && key.port != 0 && key.tpgt >= -1 &&
         key.tpgt <= 65535 && is_name(key.iface, 64);
}

bool is_valid_iface_name(std::string_view name) {
  return is_name(name, 64) && name.find('/') == name.npos && name != "." && name != "..";
}

NodeKey canonical(NodeKey key) {
  key.address = canonical_address(key.address);
  return key;
}
DiscoveryKey canonical(DiscoveryKey key) {
  key.address = canonical_address(key.address);
  return key;
}

NodeKey read_node_key(const Query& query, int column) {
  return {.target_name = query.text(column),
          .address = query.text(column + 1),
          .port = static_cast<std::uint16_t>(query.number(column + 2)),
          .tpgt = static_cast<int>(query.number(column + 3)),
          .iface = query.text(column + 4)};
}

// 1 -> a, 26 -> z, 27 -> aa: as multipath names maps.
std::string letters(std::int64_t n) {
  std::string out;
  for (; n > 0; n = (n - 1) / 26) out.insert(out.begin(), static_cast<char>('a' + (n - 1) % 26));
  return out;
}

class SqliteStore final : public Store {
 public:
  SqliteStore(OpenedFile file, Settings conf)
      : database_(std::move(file.database)), read_only_(file.read_only), conf_(std::move(conf)) {}

  Result<std::vector<NodeRecord>> nodes(const NodeFilter& filter) override;
  Result<NodeRecord> node(const NodeKey& key) override;
  error_code add_node(const NodeKey& key, const Settings& overrides) override;
  error_code update_node(const NodeKey& key, const Settings& changes) override;
  error_code remove_node(const NodeKey& key) override;

  Result<std::vector<NodeKey>> merge_discovery(const DiscoveryKey& key, const Merge& merge) override;
  Result<std::vector<DiscoveryRecord>> discoveries() override;
  Result<DiscoveryRecord> discovery(const DiscoveryKey& key) override;
  error_code add_discovery(const DiscoveryKey& key, const Settings& overrides) override;
  error_code update_discovery(const DiscoveryKey& key, const Settings& changes) override;
  error_code remove_discovery(const DiscoveryKey& key) override;

  Result<std::vector<IfaceRecord>> ifaces() override;
  Result<IfaceRecord> iface(const std::string& name) override;
  error_code add_iface(const std::string& name, const Settings& overrides) override;
  error_code update_iface(const std::string& name, const Settings& changes) override;
  error_code remove_iface(const std::string& name) override;

  Result<std::string> alias_for(const std::string& wwid, const std::string& prefix) override;

 private:
  friend class DiscoveryMerge;

  // Runs `body(database)` in a writing transaction and commits when it succeeds.
  template <typename Body>
  error_code write(Body body) {
    if (read_only_) return StoreErrc::read_only;
    Transaction transaction(database_, Kind::writing);
    if (transaction.error()) return transaction.error();
    if (const error_code error = body()) return error;
    return transaction.commit();
  }

  // Without a transaction of their own.
  Result<std::int64_t> find_node(const NodeKey& key);
  Result<std::int64_t> find_discovery(const DiscoveryKey& key);
  error_code find_iface(const std::string& name);
  Result<std::int64_t> insert_node(const NodeKey& key, bool manual, const Settings& settings);
  Result<std::int64_t> insert_discovery(const DiscoveryKey& key, const Settings& overrides);
  Result<std::vector<NodeRecord>> select_nodes(const NodeFilter& filter);
  Result<DiscoveryRecord> read_discovery(std::int64_t id, DiscoveryKey key);
  Result<IfaceRecord> read_iface(const std::string& name);

  Database database_;
  const bool read_only_;
  const Settings conf_;
};

// --- nodes -----------------------------------------------------------------------------------------------------------

Result<std::int64_t> SqliteStore::find_node(const NodeKey& key) {
  Query query(database_,
              "SELECT id FROM node WHERE target = ? AND address = ? AND port = ? AND tpgt = ? AND iface = ?");
  if (query.with(key.target_name, key.address, key.port, key.tpgt, key.iface).next()) return query.number(0);
  if (query.error()) return failure(query.error());
  return failure(StoreErrc::not_found);
}

Result<std::int64_t> SqliteStore::insert_node(const NodeKey& key, bool manual, const Settings& settings) {
  Query query(database_, "INSERT INTO node (target, address, port, tpgt, iface, manual) VALUES (?, ?, ?, ?, ?, ?)");
  query.with(key.target_name, key.address, key.port, key.tpgt, key.iface, manual ? 1 : 0);
  if (query.run()) return failure(query.error());
  const std::int64_t id = sqlite3_last_insert_rowid(database_.handle());
  if (const error_code error = put(database_, Rows::node, id, settings)) return failure(error);
  return id;
}

Result<std::vector<NodeRecord>> SqliteStore::select_nodes(const NodeFilter& filter) {
  std::map<std::string, Settings> iface_settings;
  {
    Query query(database_, "SELECT owner, key, value FROM iface_setting");
    while (query.next()) iface_settings[query.text(0)].emplace(query.text(1), query.text(2));
    if (query.error()) return failure(query.error());
  }
  // One ordered pass over records and their rows. A filter that is not set compares the column with itself.
  std::string sql =
      "SELECT id, target, address, port, tpgt, iface, key, value FROM node LEFT JOIN node_setting ON owner = id WHERE";
  sql += filter.target_name ? " target = ?1" : " ?1 = ?1";
  sql += filter.address ? " AND address = ?2" : " AND ?2 = ?2";
  sql += filter.port ? " AND port = ?3" : " AND ?3 = ?3";
  sql += filter.tpgt ? " AND tpgt = ?4" : " AND ?4 = ?4";
  sql += filter.iface ? " AND iface = ?5" : " AND ?5 = ?5";
  sql += " ORDER BY target, address, port, tpgt, iface";
  Query query(database_, sql);
  query.with(filter.target_name.value_or(""), canonical_address(filter.address.value_or("")), filter.port.value_or(0),
             filter.tpgt.value_or(0), filter.iface.value_or(""));
  const Settings base = compiled_defaults(node_table());
  std::vector<NodeRecord> records;
  std::int64_t last_id = -1;
  while (query.next()) {
    if (query.number(0) != last_id) {
      last_id = query.number(0);
      NodeRecord& record = records.emplace_back(read_node_key(query, 1), base);
      overlay(record.settings, iface_settings[record.key.iface]);
      overlay(record.settings, identity_of(record.key));
    }
    if (std::string key = query.text(6); !key.empty()) {
      records.back().settings.insert_or_assign(std::move(key), query.text(7));
    }
  }
  if (query.error()) return failure(query.error());
  return records;
}

Result<std::vector<NodeRecord>> SqliteStore::nodes(const NodeFilter& filter) {
  Transaction transaction(database_, Kind::reading);
  if (transaction.error()) return failure(transaction.error());
  return select_nodes(filter);
}

Result<NodeRecord> SqliteStore::node(const NodeKey& key) {
  auto records = nodes(
      {.target_name = key.target_name, .address = key.address, .port = key.port, .tpgt = key.tpgt, .iface = key.iface});
  if (!records) return failure(records.error());
  if (records->empty()) return failure(StoreErrc::not_found);
  return std::move(records->front());
}

error_code SqliteStore::add_node(const NodeKey& raw_key, const Settings& overrides) {
  const NodeKey key = canonical(raw_key);
  if (!is_valid(key)) return StoreErrc::bad_value;
  // Where the record came from may be told when it is made (an import, a copy of another record).
  Settings identity = identity_of(key);
  Settings origin;
  for (const char* name : {"node.discovery_address", "node.discovery_port", "node.discovery_type"}) {
    const auto told = overrides.find(name);
    if (told == overrides.end()) continue;
    auto value = normalise(*find_setting(name), told->second);
    if (!value) return value.error();
    identity[name] = origin[name] = *value;
  }
  const auto settings = checked(node_table(), overrides, identity);
  if (!settings) return settings.error();
  Settings stored = conf_part(node_table(), conf_);
  overlay(stored, *settings);
  overlay(stored, origin);
  if (binds_twice(stored)) return StoreErrc::bad_value;
  return write([&]() -> error_code {
    if (find_node(key)) return StoreErrc::exists;
    if (const error_code error = find_iface(key.iface)) return error;
    const auto id = insert_node(key, true, stored);
    return id ? error_code{} : id.error();
  });
}

error_code SqliteStore::update_node(const NodeKey& raw_key, const Settings& changes) {
  const NodeKey key = canonical(raw_key);
  const auto settings = checked(node_table(), changes, {});
  return write([&]() -> error_code {
    const auto id = find_node(key);
    if (!id) return id.error();
    if (!settings) return settings.error();
    return put(database_, Rows::node, *id, *settings);
  });
}

error_code SqliteStore::remove_node(const NodeKey& raw_key) {
  const NodeKey key = canonical(raw_key);
  return write([&]() -> error_code {
    const auto id = find_node(key);
    if (!id) return id.error();
    return Query(database_, "DELETE FROM node WHERE id = ?").with(*id).run();
  });
}

// --- discovery -------------------------------------------------------------------------------------------------------

Result<std::int64_t> SqliteStore::find_discovery(const DiscoveryKey& key) {
  Query query(database_, "SELECT id FROM discovery WHERE type = ? AND address = ? AND port = ?");
  if (query.with(key.type, key.address, key.port).next()) return query.number(0);
  if (query.error()) return failure(query.error());
  return failure(StoreErrc::not_found);
}

Result<std::int64_t> SqliteStore::insert_discovery(const DiscoveryKey& key, const Settings& overrides) {
  Query query(database_, "INSERT INTO discovery (type, address, port) VALUES (?, ?, ?)");
  if (query.with(key.type, key.address, key.port).run()) return failure(query.error());
  const std::int64_t id = sqlite3_last_insert_rowid(database_.handle());
  Settings stored = conf_part(discovery_table(key.type), conf_);
  overlay(stored, overrides);
  if (const error_code error = put(database_, Rows::discovery, id, stored)) return failure(error);
  return id;
}

Result<DiscoveryRecord> SqliteStore::read_discovery(std::int64_t id, DiscoveryKey key) {
  DiscoveryRecord record{.key = std::move(key), .settings = {}, .found = {}};
  record.settings = compiled_defaults(discovery_table(record.key.type));
  overlay(record.settings, identity_of(record.key));
  if (const error_code error = overlay_stored(database_, Rows::discovery, id, record.settings)) return failure(error);
  Query query(database_,
              "SELECT target, address, port, tpgt, iface FROM discovery_node JOIN node ON node = node.id"
              " WHERE discovery = ? ORDER BY target, address, port, tpgt, iface");
  query.with(id);
  while (query.next()) record.found.push_back(read_node_key(query, 0));
  if (query.error()) return failure(query.error());
  return record;
}

Result<std::vector<DiscoveryRecord>> SqliteStore::discoveries() {
  Transaction transaction(database_, Kind::reading);
  if (transaction.error()) return failure(transaction.error());
  std::vector<std::pair<std::int64_t, DiscoveryKey>> keys;
  Query query(database_, "SELECT id, type, address, port FROM discovery ORDER BY type, address, port");
  while (query.next()) {
    keys.emplace_back(query.number(0), DiscoveryKey{.type = query.text(1),
                                                    .address = query.text(2),
                                                    .port = static_cast<std::uint16_t>(query.number(3))});
  }
  if (query.error()) return failure(query.error());
  std::vector<DiscoveryRecord> records;
  for (auto& [id, key] : keys) {
    auto record = read_discovery(id, std::move(key));
    if (!record) return failure(record.error());
    records.push_back(*std::move(record));
  }
  return records;
}

Result<DiscoveryRecord> SqliteStore::discovery(const DiscoveryKey& raw_key) {
  const DiscoveryKey key = canonical(raw_key);
  Transaction transaction(database_, Kind::reading);
  if (transaction.error()) return failure(transaction.error());
  const auto id = find_discovery(key);
  if (!id) return failure(id.error());
  return read_discovery(*id, key);
}

error_code SqliteStore::add_discovery(const DiscoveryKey& raw_key, const Settings& overrides) {
  const DiscoveryKey key = canonical(raw_key);
  const auto table = discovery_table(key.type);
  if (table.empty() || !is_name(key.address, 255) || key.port == 0) return StoreErrc::bad_value;
  const auto settings = checked(table, overrides, identity_of(key));
  if (!settings) return settings.error();
  return write([&]() -> error_code {
    if (find_discovery(key)) return StoreErrc::exists;
    const auto id = insert_discovery(key, *settings);
    return id ? error_code{} : id.error();
  });
}

error_code SqliteStore::update_discovery(const DiscoveryKey& raw_key, const Settings& changes) {
  const DiscoveryKey key = canonical(raw_key);
  const auto settings = checked(discovery_table(key.type), changes, {});
  return write([&]() -> error_code {
    const auto id = find_discovery(key);
    if (!id) return id.error();
    if (!settings) return settings.error();
    return put(database_, Rows::discovery, *id, *settings);
  });
}

error_code SqliteStore::remove_discovery(const DiscoveryKey& raw_key) {
  const DiscoveryKey key = canonical(raw_key);
  return write([&]() -> error_code {
    const auto id = find_discovery(key);
    if (!id) return id.error();
    return Query(database_, "DELETE FROM discovery WHERE id = ?").with(*id).run();
  });
}

// --- the discovery merge ---------------------------------------------------------------------------------------------

// One merge, inside its transaction.
//
// A portal that is found is, in this order: the record with the same key; else the same portal under another tag, when
// one side did not know the tag or the target changed it (the record is renamed and keeps its values); else new.
class DiscoveryMerge {
 public:
  DiscoveryMerge(SqliteStore& store, DiscoveryKey key, const Store::Merge& merge)
      : store_(store), key_(std::move(key)), merge_(merge), settings_(conf_part(node_table(), store.conf_)) {
    overlay(settings_, origin_of(key_));
    for (const NodeKey& used : merge.in_use) in_use_.insert(canonical(used));
    for (const std::string& iface : merge.ifaces) {
      for (const NodeAddress& found : merge.found) {
        found_.insert({.target_name = found.target_name,
                       .address = canonical_address(found.address),
                       .port = found.port,
                       .tpgt = found.tpgt,
                       .iface = iface});
      }
    }
  }

  Result<std::vector<NodeKey>> run() {
    for (const NodeKey& key : found_) {
      if (!is_valid(key)) return failure(StoreErrc::bad_value);
    }
    for (const std::string& iface : merge_.ifaces) {
      if (const error_code error = store_.find_iface(iface)) return failure(error);
    }
    auto discovery = store_.find_discovery(key_);
    if (!discovery && discovery.error() == StoreErrc::not_found) discovery = store_.insert_discovery(key_, {});
    if (!discovery) return failure(discovery.error());
    discovery_ = *discovery;
    for (const NodeKey& key : found_) {
      if (const error_code error = take(key)) return failure(error);
    }
    if (merge_.remove_stale) {
      if (const error_code error = remove_stale()) return failure(error);
    }
    return std::vector<NodeKey>(result_.begin(), result_.end());
  }

 private:
  struct Known {
    std::int64_t id;
    NodeKey key;
  };

  error_code take(const NodeKey& key) {
    auto known = find(key);
    if (!known) return known.error();
    if (!*known) {
      result_.insert(key);
      if (!merge_.add_new) return {};
      const auto id = store_.insert_node(key, false, settings_);
      if (!id) return id.error();
      return link(*id);
    }
    const auto& [id, known_key] = **known;
    result_.insert(known_key);
    if (merge_.update_known) {
      if (const error_code error = rewrite(id)) return error;
    }
    return link(id);
  }

  // The record that is this portal, renamed to its tag where that is safe; nullopt when there is none.
  Result<std::optional<Known>> find(const NodeKey& key) {
    const auto same = store_.find_node(key);
    if (same) return Known{*same, key};
    if (same.error() != StoreErrc::not_found) return failure(same.error());
    Query query(
        store_.database_,
        "SELECT id, target, address, port, tpgt, iface, EXISTS (SELECT 1 FROM discovery_node WHERE node = id AND"
        " discovery = ?) FROM node WHERE target = ? AND address = ? AND port = ? AND iface = ? ORDER BY tpgt");
    query.with(discovery_, key.target_name, key.address, key.port, key.iface);
    std::optional<Known> other;
    while (!other && query.next()) {
      NodeKey candidate = read_node_key(query, 1);
      const bool tag_unknown = candidate.tpgt == -1 || key.tpgt == -1;
      const bool tag_changed = query.number(6) != 0;
      if ((tag_unknown || tag_changed) && !found_.contains(candidate))
        other = Known{query.number(0), std::move(candidate)};
    }
    if (query.error()) return failure(query.error());
    if (!other || key.tpgt == -1 || in_use_.contains(other->key)) return other;
    if (const error_code error =
            Query(store_.database_, "UPDATE node SET tpgt = ? WHERE id = ?").with(key.tpgt, other->id).run()) {
      return failure(error);
    }
    return Known{other->id, key};
  }

  error_code rewrite(std::int64_t id) {
    if (const error_code error = Query(store_.database_, "DELETE FROM node_setting WHERE owner = ?").with(id).run())
      return error;
    return put(store_.database_, Rows::node, id, settings_);
  }

  error_code link(std::int64_t node) {
    return Query(store_.database_, "INSERT OR IGNORE INTO discovery_node (discovery, node) VALUES (?, ?)")
        .with(discovery_, node)
        .run();
  }

  // Only records of the ifaces asked through: another iface may see other portals.
  error_code remove_stale() {
    std::vector<std::int64_t> forget;
    Query query(store_.database_,
                "SELECT id, target, address, port, tpgt, iface FROM discovery_node JOIN node ON node = id"
                " WHERE discovery = ?");
    query.with(discovery_);
    while (query.next()) {
      const NodeKey key = read_node_key(query, 1);
      const bool asked = std::ranges::find(merge_.ifaces, key.iface) != merge_.ifaces.end();
      if (asked && !result_.contains(key) && !in_use_.contains(key)) forget.push_back(query.number(0));
    }
    if (query.error()) return query.error();
    Query unlink(store_.database_, "DELETE FROM discovery_node WHERE discovery = ? AND node = ?");
    Query drop(
        store_.database_,
        "DELETE FROM node WHERE id = ? AND manual = 0 AND NOT EXISTS (SELECT 1 FROM discovery_node WHERE node = id)");
    for (const std::int64_t node : forget) {
      if (unlink.with(discovery_, node).run()) return unlink.error();
      if (drop.with(node).run()) return drop.error();
    }
    return {};
  }

  SqliteStore& store_;
  const DiscoveryKey key_;
  const Store::Merge& merge_;
  Settings settings_;  // of a new record
  std::set<NodeKey> in_use_;
  std::set<NodeKey> found_;
  std::int64_t discovery_ = 0;
  std::set<NodeKey> result_;
};

Result<std::vector<NodeKey>> SqliteStore::merge_discovery(const DiscoveryKey& raw_key, const Merge& merge) {
  const DiscoveryKey key = canonical(raw_key);
  if (discovery_table(key.type).empty() || !is_name(key.address, 255) || key.port == 0) {
    return failure(StoreErrc::bad_value);
  }
  Result<std::vector<NodeKey>> result;
  const error_code error = write([&]() -> error_code {
    result = DiscoveryMerge(*this, key, merge).run();
    return result ? error_code{} : result.error();
  });
  if (error) return failure(error);
  return result;
}

// --- ifaces ----------------------------------------------------------------------------------------------------------

error_code SqliteStore::find_iface(const std::string& name) {
  Query query(database_, "SELECT 1 FROM iface WHERE name = ?");
  if (query.with(name).next()) return {};
  return query.error() ? query.error() : make_error_code(StoreErrc::not_found);
}

Result<IfaceRecord> SqliteStore::read_iface(const std::string& name) {
  IfaceRecord record{.name = name, .settings = compiled_defaults(iface_table())};
  record.settings["iface.iscsi_ifacename"] = name;
  if (const error_code error = overlay_stored(database_, Rows::iface, name, record.settings)) return failure(error);
  return record;
}

Result<std::vector<IfaceRecord>> SqliteStore::ifaces() {
  Transaction transaction(database_, Kind::reading);
  if (transaction.error()) return failure(transaction.error());
  std::vector<IfaceRecord> records;
  Query query(database_, "SELECT name FROM iface ORDER BY name");
  while (query.next()) {
    auto record = read_iface(query.text(0));
    if (!record) return failure(record.error());
    records.push_back(*std::move(record));
  }
  if (query.error()) return failure(query.error());
  return records;
}

Result<IfaceRecord> SqliteStore::iface(const std::string& name) {
  Transaction transaction(database_, Kind::reading);
  if (transaction.error()) return failure(transaction.error());
  if (const error_code error = find_iface(name)) return failure(error);
  return read_iface(name);
}

error_code SqliteStore::add_iface(const std::string& name, const Settings& overrides) {
  if (name == "default") return StoreErrc::exists;
  if (!is_valid_iface_name(name)) return StoreErrc::bad_value;
  const auto settings = checked(iface_table(), overrides, {{"iface.iscsi_ifacename", name}});
  if (!settings) return settings.error();
  if (binds_twice(*settings)) return StoreErrc::bad_value;
  return write([&]() -> error_code {
    if (!find_iface(name)) return StoreErrc::exists;
    if (const error_code error = Query(database_, "INSERT INTO iface (name) VALUES (?)").with(name).run()) return error;
    return put(database_, Rows::iface, name, *settings);
  });
}

error_code SqliteStore::update_iface(const std::string& name, const Settings& changes) {
  if (name == "default") return StoreErrc::unknown_key;
  const auto settings = checked(iface_table(), changes, {});
  return write([&]() -> error_code {
    if (const error_code error = find_iface(name)) return error;
    if (!settings) return settings.error();
    if (const error_code error = put(database_, Rows::iface, name, *settings)) return error;
    const auto record = read_iface(name);
    if (!record) return record.error();
    return binds_twice(record->settings) ? make_error_code(StoreErrc::bad_value) : error_code{};
  });
}

error_code SqliteStore::remove_iface(const std::string& name) {
  if (name == "default") return StoreErrc::unknown_key;
  return write([&]() -> error_code {
    if (const error_code error = find_iface(name)) return error;
    return Query(database_, "DELETE FROM iface WHERE name = ?").with(name).run();
  });
}

// --- aliases ---------------------------------------------------------------------------------------------------------

Result<std::string> SqliteStore::alias_for(const std::string& wwid, const std::string& prefix) {
  if (wwid.empty() || !is_name(prefix, 64)) return failure(StoreErrc::bad_value);
  const auto lookup = [&]() -> Result<std::string> {
    Query query(database_, "SELECT name FROM alias WHERE prefix = ? AND wwid = ?");
    if (query.with(prefix, wwid).next()) return query.text(0);
    if (query.error()) return failure(query.error());
    return failure(StoreErrc::not_found);
  };
  Result<std::string> alias = lookup();
  if (alias || alias.error() != StoreErrc::not_found) return alias;
  const error_code error = write([&]() -> error_code {
    alias = lookup();  // another process may have named it meanwhile
    if (alias || alias.error() != StoreErrc::not_found) return alias ? error_code{} : alias.error();
    Query last(database_, "SELECT coalesce(max(n), 0) FROM alias WHERE prefix = ?");
    std::int64_t n = last.with(prefix).next() ? last.number(0) : 0;
    if (last.error()) return last.error();
    Query taken(database_, "SELECT 1 FROM alias WHERE name = ?");  // "mpath" + "aa" is also "mpatha" + "a"
    do {
      alias = prefix + letters(++n);
    } while (taken.with(*alias).next());
    if (taken.error()) return taken.error();
    return Query(database_, "INSERT INTO alias (prefix, wwid, n, name) VALUES (?, ?, ?, ?)")
        .with(prefix, wwid, n, *alias)
        .run();
  });
  if (error) return failure(error);
  return alias;
}

}  // namespace

const std::error_category& store_category() noexcept {
  static const StoreCategory category;
  return category;
}

Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file, Settings defaults,
                                                 const StoreOptions& options) {
  for (auto& [key, value] : defaults) {
    auto good = validate(key, value);
    if (!good) return failure(good.error());
    value = *std::move(good);
  }
  auto opened = open_database_file(file, schema_steps(), options.busy_wait);
  if (!opened) return failure(opened.error());
  return std::make_unique<SqliteStore>(*std::move(opened), std::move(defaults));
}

Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& file, Settings defaults) {
  return open_sqlite_store(file, std::move(defaults), StoreOptions{});
}

}  // namespace mpath::db
