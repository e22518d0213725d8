// Settings as a table: one row {section, key, type, unit, default, range, doc} drives the check of a configuration file, the
// values in force with where they came from, and the manual page.
//
// Reload is: parse all files, validate() all of them, and only without errors make new SettingValues.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_text.hpp"
#include "base/units.hpp"

namespace mpath {

enum class SettingType : std::uint8_t {
  text,      // anything
  word,      // one of `words`
  integer,   // a number within the range
  size,      // bytes: 64k, 1M; bare numbers count in `unit`
  duration,  // 15s, 500ms; bare numbers count in `unit`
  yes_no,
  regex,     // POSIX extended, unanchored; a leading ! inverts it
  ignored,   // known from the tools we stand in for, without effect here
};

// All views must live as long as the table: rows are constants.
struct Setting {
  std::string_view section;  // "devices.device"; "" in flat files
  std::string_view key;
  SettingType type = SettingType::text;
  std::string_view unit = {};     // duration: "s" (when empty) or any unit of base/units.hpp; size: "" = bytes, "k", ...
  std::string_view fallback = {}; // the default, as it would be written in the file; empty: unset
  std::int64_t least = std::numeric_limits<std::int64_t>::min();  // integer; size in bytes; duration in milliseconds
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  std::string_view words = {};    // "fail|queue": allowed words; for the other types allowed besides their own values
  std::string_view doc = {};
  bool repeatable = false;        // every line counts, not only the last (blacklist entries)
  bool secret = false;            // shown as ********
};

// One line what is wrong with `value`, or nothing.
[[nodiscard]] std::optional<std::string> check_setting(const Setting& setting, std::string_view value);

class SettingsTable {
 public:
  // Bugs in the rows (a default that its own row refuses, a key twice) end the process.
  explicit SettingsTable(std::span<const Setting> rows);

  [[nodiscard]] std::span<const Setting> rows() const { return rows_; }
  [[nodiscard]] const Setting* find(std::string_view section, std::string_view key) const;
  [[nodiscard]] bool has_section(std::string_view section) const;  // or one below it
  // Everything that is wrong: unknown sections, unknown keys (with the nearest known one), bad values. A setting without effect
  // here is a warning.
  [[nodiscard]] ConfigProblems validate(const ConfigSection& root) const;

 private:
  void validate(const ConfigSection& section, const std::string& path, ConfigProblems& problems) const;
  std::span<const Setting> rows_;
};

// The settings of one section in force. Reading a key that the table lacks, or as another type, is a bug.
class SettingValues {
 public:
  // `table` is borrowed.
  explicit SettingValues(const SettingsTable& table, std::string section = {}) : table_(&table), section_(std::move(section)) {}

  // What a checked section says; later calls win over earlier ones. Keys without effect are skipped.
  void apply(const ConfigSection& section);
  // One value from elsewhere (a command line). Nothing changes when it is refused.
  [[nodiscard]] std::optional<std::string> set(std::string_view key, std::string_view value, const Origin& origin);

  [[nodiscard]] bool is_set(std::string_view key) const;  // by a file or set(), not by default
  [[nodiscard]] Origin origin(std::string_view key) const;
  [[nodiscard]] std::string text(std::string_view key) const;  // as written, or the default
  [[nodiscard]] std::vector<std::string> all(std::string_view key) const;  // repeatable
  [[nodiscard]] bool is_word(std::string_view key) const;  // the value is one of `words`
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] std::uint64_t size(std::string_view key) const;
  [[nodiscard]] std::chrono::milliseconds duration(std::string_view key) const;
  [[nodiscard]] bool yes_no(std::string_view key) const;

  // Every setting of the section with its value and where it came from, in table order; secrets masked. Settings without
  // effect, and those neither set nor with a default, are left out.
  struct Row {
    std::string key, value, origin;
  };
  [[nodiscard]] std::vector<Row> rows() const;

 private:
  struct Value {
    std::vector<std::string> texts;
    Origin origin;
  };
  const Setting& row(std::string_view key) const;

  const SettingsTable* table_;
  std::string section_;
  std::map<std::string, Value, std::less<>> values_;  // what was set
};

}  // namespace mpath
