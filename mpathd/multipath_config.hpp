// The settings of multipath.conf in force: parsed whole, validated whole, then never changed. A reload makes a new one and
// swaps it in; whoever holds the old one may finish with it.
//
// Precedence, later wins:  built-in < defaults < devices (those that match, in order) < overrides < multipaths.
// Files:                   multipath.conf, then conf.d/*.conf by name.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_text.hpp"
#include "base/layout.hpp"
#include "mpathd/multipath_config_blacklist.hpp"
#include "mpathd/multipath_config_settings.hpp"

namespace mpath {

struct ConfigSource {
  std::string name;  // as remarks show it
  std::string text;
};

enum class DumpStyle : std::uint8_t { values, origins };  // origins: a comment after each value says where it is from

// What a map that exists is called, for `show config local`.
struct LocalMap {
  std::string wwid, name, vendor, product, revision;
};

class MultipathConfig {
 public:
  MultipathConfig() = default;  // the built-in settings alone

  // Everything that was decided about the logical unit with this identity; vendor and product as INQUIRY gave them.
  [[nodiscard]] MapSettings settings_for(std::string_view wwid, std::string_view vendor, std::string_view product,
                                         std::string_view revision = {}) const;
  [[nodiscard]] int verbosity() const;

  // Warnings of the load: settings that act differently here, and one line that lists those without effect.
  [[nodiscard]] const ConfigProblems& warnings() const { return warnings_; }

  // `show config`: a multipath.conf again, which when read gives the same settings.
  [[nodiscard]] std::string dump(DumpStyle style) const;
  // `show config local`: only the device and multipath sections of these maps, and the names of the others as comments.
  [[nodiscard]] std::string dump_local(std::span<const LocalMap> maps) const;
  [[nodiscard]] std::string dump_json() const;
  [[nodiscard]] std::string blacklist_report() const { return mpath::blacklist_report(blacklist_, exceptions_); }

 private:
  friend class MultipathConfigBuilder;

  struct Entry {
    const MapSetting* setting = nullptr;
    std::string value;
    Origin origin;
  };
  using Entries = std::vector<Entry>;
  struct Device {
    Origin origin;
    std::optional<Pattern> vendor, product, revision;  // none: matches all
    std::optional<std::string> product_blacklist;      // also a rule of blacklist_
    Entries entries;
    [[nodiscard]] bool matches(std::string_view vendor_id, std::string_view product_id, std::string_view revision_id) const;
  };
  struct Multipath {
    Origin origin;
    std::string wwid;
    Entries entries;
  };
  struct Writer;  // show config

  Entries defaults_, overrides_;  // one entry a key: the last
  std::vector<Device> devices_;
  std::vector<Multipath> multipaths_;
  Blacklist blacklist_, exceptions_;
  ConfigProblems warnings_;
};

using ConfigResult = std::expected<std::shared_ptr<const MultipathConfig>, ConfigProblems>;

// All errors of all sources, or the settings. Pure.
[[nodiscard]] ConfigResult parse_multipath_config(std::span<const ConfigSource> sources);

// Reads etc/mpathd/multipath.conf and etc/mpathd/conf.d/*.conf; what does not exist is empty, what cannot be read is an
// error.
[[nodiscard]] ConfigResult load_multipath_config(const Layout& layout);

// The keywords that are not settings but say what a section is about: vendor, wwid, devnode ... For the manual's test.
[[nodiscard]] std::span<const std::string_view> structural_keywords();

}  // namespace mpath
