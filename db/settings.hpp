// Every key of a node, discovery and iface record and of iscsid.conf: one table that the store, the record dump, the
// configuration reader, the documentation test and the tools go through.
//
// Threads: the tables are constant; everything here may be called from anywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "db/records.hpp"

namespace mpath::db {

enum class SettingType : std::uint8_t {
  flag,     // Yes or No
  number,   // decimal, min..max
  bytes,    // number; 64k, 16m, 1g are taken
  seconds,  // number; 15s, 2m, 1h are taken
  power2,   // number that is a power of two
  word,     // one of `words`
  list,     // some of `words`, each once, comma between them, order counts
  text,     // any characters but control characters, at most `max` bytes
  secret,   // text that is masked when shown
  mac,      // aa:bb:cc:dd:ee:ff
  ip,       // numeric address
  netdev,   // name of a network device
};

enum class SettingUse : std::uint8_t {
  settable,
  identity,  // part of the record's key, or recorded by discovery: shown, never updated
};

struct Setting {
  std::string_view key;
  SettingType type = SettingType::text;
  std::string_view fallback;  // the compiled default; empty prints as <empty>
  std::int64_t min = 0;
  std::int64_t max = 0;
  std::string_view words;  // "a|b|c"
  std::string_view doc;    // one line
  SettingUse use = SettingUse::settable;
};

// In the order a record prints them.
[[nodiscard]] std::span<const Setting> node_table();  // with the iface block inside
[[nodiscard]] std::span<const Setting> iface_table();
[[nodiscard]] std::span<const Setting> sendtargets_table();
[[nodiscard]] std::span<const Setting> isns_table();
[[nodiscard]] std::span<const Setting> daemon_table();                          // iscsid.*: only in iscsid.conf
[[nodiscard]] std::span<const Setting> discovery_table(std::string_view type);  // empty for a type without records

// The entry of `key` in any table; nullptr when there is none.
[[nodiscard]] const Setting* find_setting(std::string_view key);

// `value` as it is stored and shown: "yes" -> "Yes", " 64k" -> "65536". An empty value is allowed where the fallback is
// empty. Fails with StoreErrc::bad_value.
[[nodiscard]] Result<std::string> normalise(const Setting& setting, std::string_view value);
// The same by key; unknown_key when no table has it or it is not settable.
[[nodiscard]] Result<std::string> validate(std::string_view key, std::string_view value);
// What `setting` takes, for an error message: "a number from 2 to 2048 that is a power of two".
[[nodiscard]] std::string expectation(const Setting& setting);

[[nodiscard]] bool is_secret(std::string_view key);

// Every key of the table with its compiled default.
[[nodiscard]] Settings compiled_defaults(std::span<const Setting> table);
// compiled_defaults, with those of `conf` (values read from iscsid.conf) that belong to the table.
[[nodiscard]] Settings defaults(std::span<const Setting> table, const Settings& conf);

// What a session uses: the record's values after the rules between keys. FirstBurstLength is at most MaxBurstLength; of
// noop_out_interval and noop_out_timeout, both zero means off and a single zero is taken for the default.
// Returns one line for every value it changed. The record itself keeps what the administrator wrote.
std::vector<std::string> make_consistent(Settings& node);

// IP addresses in their one canonical form, brackets removed; anything else in lower case.
[[nodiscard]] std::string canonical_address(std::string_view address);

// The record as iscsiadm prints it, newline-terminated: "# BEGIN RECORD <version>", "key = value", "# END RECORD".
struct DumpStyle {
  std::string version;        // of the program
  bool show_secrets = false;  // else ********
};
[[nodiscard]] std::string dump(const NodeRecord& record, const DumpStyle& style);
[[nodiscard]] std::string dump(const DiscoveryRecord& record, const DumpStyle& style);
[[nodiscard]] std::string dump(const IfaceRecord& record, const DumpStyle& style);

}  // namespace mpath::db
