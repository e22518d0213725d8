// Every keyword of multipath.conf in one table: where it may stand, its type, unit and built-in value, what it says about
// a map, and one sentence for the manual page. The parser, `show config` and the page's test walk it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mpathd/export_kind.hpp"
#include "mpathd/policy.hpp"

namespace mpath {

struct ExportSettings {
  std::optional<ExportKinds> kinds;  // none written: the NBD socket, and /dev/nbdN where the kernel has the module
  unsigned nbd_socket_mode = 0600;
  friend bool operator==(const ExportSettings&, const ExportSettings&) = default;
};

// What multipath.conf decides about one map.
struct MapSettings {
  MapPolicy policy;
  std::optional<std::string> alias;   // multipaths: alias
  bool user_friendly_names = false;   // without an alias: mpatha, mpathb ... instead of the WWID
  std::string alias_prefix = "mpath";
  ExportSettings exports;
  std::string drill;                  // filters below the exports, as DrillDevice::set() takes them; empty: none
  int verbosity = 2;                  // of the daemon: defaults only
  bool blacklisted = false;
  std::string blacklist_reason;       // which rule
};

enum class SettingPlace : std::uint8_t { defaults = 1, devices = 2, overrides = 4, multipaths = 8 };
enum class MapSettingType : std::uint8_t { text, word, number, duration, flag, any };

// What applying a value came to. A warning was applied, but acts differently from what multipath-tools does with it.
struct Applied {
  enum class Verdict : std::uint8_t { ok, warning, error } verdict = Verdict::ok;
  std::string text;
};

struct MapSetting {
  std::string_view key;
  std::uint8_t places;             // the places where it may stand
  MapSettingType type;
  std::string_view unit;           // "s", "ms" or nothing
  std::string_view built_in;       // as it would be written
  std::string_view doc;
  Applied (*apply)(std::string_view value, MapSettings& settings);  // null: accepted, without effect

  [[nodiscard]] bool in(SettingPlace place) const { return (places & static_cast<std::uint8_t>(place)) != 0; }
  [[nodiscard]] bool has_effect() const { return apply != nullptr; }
};

[[nodiscard]] std::span<const MapSetting> map_setting_table();
[[nodiscard]] const MapSetting* find_map_setting(std::string_view key);  // null: unknown

// key value, quoted where the type or the value asks for it, as `show config` prints it.
[[nodiscard]] std::string written(const MapSetting& setting, std::string_view value);
[[nodiscard]] std::string in_quotes(std::string_view value);

}  // namespace mpath
