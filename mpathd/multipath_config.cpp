#include "mpathd/multipath_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

namespace mpath {
namespace {

using Severity = ConfigProblem::Severity;

constexpr std::array<std::string_view, 8> structural{"vendor", "product", "revision", "product_blacklist",
                                                     "wwid",   "devnode", "property", "protocol"};

std::string_view place_name(SettingPlace place) {
  switch (place) {
    case SettingPlace::defaults: return "defaults";
    case SettingPlace::devices: return "devices.device";
    case SettingPlace::overrides: return "overrides";
    case SettingPlace::multipaths: return "multipaths.multipath";
  }
  return "";
}

}  // namespace

// Turns a tree into settings, and writes down everything that is wrong on the way.
class MultipathConfigBuilder {
 public:
  explicit MultipathConfigBuilder(ConfigProblems problems) : problems_(std::move(problems)) {}

  void take(const ConfigSection& root) {
    for (const ConfigEntry& entry : root.entries)
      complain(entry.origin, fmt::format("'{}' stands outside of all sections", entry.key));
    for (const ConfigSection& section : root.sections) {
      if (section.name == "defaults") take_settings(section, SettingPlace::defaults, config_->defaults_);
      else if (section.name == "overrides") take_overrides(section);
      else if (section.name == "devices") take_list(section, "device", &MultipathConfigBuilder::take_device);
      else if (section.name == "multipaths") take_list(section, "multipath", &MultipathConfigBuilder::take_multipath);
      else if (section.name == "blacklist") take_blacklist(section, config_->blacklist_);
      else if (section.name == "blacklist_exceptions") take_blacklist(section, config_->exceptions_);
      else complain(section.origin, fmt::format("unknown section '{}'", section.name));
    }
  }

  ConfigResult finish() {
    refuse_double_aliases();
    if (has_errors(problems_)) return std::unexpected(std::move(problems_));
    if (!without_effect_.empty()) {
      std::string keys;
      for (const auto& [key, origin] : without_effect_)
        keys += fmt::format("{}{} ({})", keys.empty() ? "" : ", ", key, origin.line);
      const Origin first{without_effect_.begin()->second.file, 0};
      problems_.push_back({Severity::warning, first, "accepted, without effect (line): " + keys});
    }
    config_->warnings_ = std::move(problems_);
    return std::shared_ptr<const MultipathConfig>(std::move(config_));
  }

 private:
  using Entries = MultipathConfig::Entries;

  void complain(const Origin& origin, std::string what) { problems_.push_back({Severity::error, origin, std::move(what)}); }

  void no_sections_in(const ConfigSection& section) {
    for (const ConfigSection& inner : section.sections)
      complain(inner.origin, fmt::format("unknown section '{}' in {}", inner.name, section.name));
  }

  void take_settings(const ConfigSection& section, SettingPlace place, Entries& into) {
    for (const ConfigEntry& entry : section.entries) take_setting(entry, place, into);
    no_sections_in(section);
  }

  void take_setting(const ConfigEntry& entry, SettingPlace place, Entries& into) {
    const MapSetting* setting = find_map_setting(entry.key == "checker" ? "path_checker" : entry.key);
    if (setting == nullptr) return complain(entry.origin, fmt::format("unknown keyword '{}' in {}", entry.key, place_name(place)));
    if (!setting->in(place)) return complain(entry.origin, fmt::format("'{}' has no place in {}", entry.key, place_name(place)));
    if (setting->has_effect()) {
      MapSettings scratch;
      Applied applied = setting->apply(entry.value, scratch);
      const std::string what = fmt::format("{}: {}", entry.key, applied.text);
      switch (applied.verdict) {
        case Applied::Verdict::ok: break;
        case Applied::Verdict::warning: problems_.push_back({Severity::warning, entry.origin, what}); break;
        case Applied::Verdict::error: return complain(entry.origin, what);
      }
    } else {
      without_effect_.try_emplace(entry.key, entry.origin);
    }
    std::erase_if(into, [&](const auto& earlier) { return earlier.setting == setting; });
    into.push_back({.setting = setting, .value = entry.value, .origin = entry.origin});
  }

  // overrides { protocol { ... } } tunes Fibre Channel and SAS timers: nothing for us, but a familiar file may have it.
  void take_overrides(const ConfigSection& section) {
    for (const ConfigEntry& entry : section.entries) take_setting(entry, SettingPlace::overrides, config_->overrides_);
    for (const ConfigSection& inner : section.sections) {
      if (inner.name == "protocol") without_effect_.try_emplace("overrides.protocol", inner.origin);
      else complain(inner.origin, fmt::format("unknown section '{}' in overrides", inner.name));
    }
  }

  void take_list(const ConfigSection& section, std::string_view name, void (MultipathConfigBuilder::*take_one)(const ConfigSection&)) {
    for (const ConfigEntry& entry : section.entries)
      complain(entry.origin, fmt::format("'{}' in {} must stand in a section {}", entry.key, section.name, name));
    for (const ConfigSection& inner : section.sections) {
      if (inner.name == name) (this->*take_one)(inner);
      else complain(inner.origin, fmt::format("unknown section '{}' in {}", inner.name, section.name));
    }
  }

  std::optional<Pattern> pattern(const ConfigEntry& entry) {
    auto compiled = Pattern::compile(entry.value);
    if (compiled) return *std::move(compiled);
    complain(entry.origin, fmt::format("{}: {}", entry.key, compiled.error()));
    return std::nullopt;
  }

  void take_device(const ConfigSection& section) {
    MultipathConfig::Device device{.origin = section.origin};
    for (const ConfigEntry& entry : section.entries) {
      if (entry.key == "vendor") device.vendor = pattern(entry);
      else if (entry.key == "product") device.product = pattern(entry);
      else if (entry.key == "revision") device.revision = pattern(entry);
      else if (entry.key == "product_blacklist") device.product_blacklist = entry.value;
      else take_setting(entry, SettingPlace::devices, device.entries);
      if (entry.key == "product_blacklist") refuse_unless_pattern(entry);
    }
    no_sections_in(section);
    if (!device.vendor && !device.product) complain(section.origin, "a device needs a vendor or a product");
    if (device.product_blacklist)
      if (auto product = Pattern::compile(*device.product_blacklist))
        config_->blacklist_.device.push_back({.vendor = device.vendor, .product = *std::move(product)});
    config_->devices_.push_back(std::move(device));
  }

  void refuse_unless_pattern(const ConfigEntry& entry) { static_cast<void>(pattern(entry)); }

  void take_multipath(const ConfigSection& section) {
    MultipathConfig::Multipath multipath{.origin = section.origin};
    for (const ConfigEntry& entry : section.entries) {
      if (entry.key == "wwid") multipath.wwid = entry.value;
      else take_setting(entry, SettingPlace::multipaths, multipath.entries);
    }
    no_sections_in(section);
    if (multipath.wwid.empty()) complain(section.origin, "a multipath needs a wwid");
    config_->multipaths_.push_back(std::move(multipath));
  }

  void take_blacklist(const ConfigSection& section, Blacklist& into) {
    for (const ConfigEntry& entry : section.entries) {
      if (entry.key == "wwid") add(into.wwid, pattern(entry));
      else if (entry.key == "protocol") add(into.protocol, pattern(entry));
      else if (entry.key == "devnode") keep_without_effect(section, entry, into.devnode);
      else if (entry.key == "property") keep_without_effect(section, entry, into.property);
      else complain(entry.origin, fmt::format("unknown keyword '{}' in {}", entry.key, section.name));
    }
    for (const ConfigSection& inner : section.sections) {
      if (inner.name == "device") take_device_rule(inner, into);
      else complain(inner.origin, fmt::format("unknown section '{}' in {}", inner.name, section.name));
    }
  }

  static void add(std::vector<Pattern>& rules, std::optional<Pattern> rule) {
    if (rule) rules.push_back(*std::move(rule));
  }

  void keep_without_effect(const ConfigSection& section, const ConfigEntry& entry, std::vector<std::string>& rules) {
    if (!pattern(entry)) return;
    rules.push_back(entry.value);
    without_effect_.try_emplace(section.name + "." + entry.key, entry.origin);
  }

  void take_device_rule(const ConfigSection& section, Blacklist& into) {
    DeviceRule rule;
    for (const ConfigEntry& entry : section.entries) {
      if (entry.key == "vendor") rule.vendor = pattern(entry);
      else if (entry.key == "product") rule.product = pattern(entry);
      else complain(entry.origin, fmt::format("unknown keyword '{}' in {}", entry.key, section.name));
    }
    no_sections_in(section);
    if (!rule.vendor && !rule.product) return complain(section.origin, "a device needs a vendor or a product");
    into.device.push_back(std::move(rule));
  }

  // Two maps cannot have one name. A later section for the same WWID replaces the name of the earlier.
  void refuse_double_aliases() {
    std::map<std::string, std::string> alias_of;                  // by WWID
    std::map<std::string, std::pair<std::string, Origin>> owner;  // by alias
    for (const auto& multipath : config_->multipaths_)
      for (const auto& entry : multipath.entries)
        if (entry.setting->key == "alias") alias_of[multipath.wwid] = entry.value;
    for (const auto& multipath : config_->multipaths_)
      for (const auto& entry : multipath.entries) {
        if (entry.setting->key != "alias" || alias_of[multipath.wwid] != entry.value) continue;
        const auto [at, first] = owner.try_emplace(entry.value, multipath.wwid, entry.origin);
        if (!first && at->second.first != multipath.wwid)
          complain(entry.origin, fmt::format("alias '{}' is taken by {} ({})", entry.value, at->second.first,
                                             at->second.second.text()));
      }
  }

  std::shared_ptr<MultipathConfig> config_ = std::make_shared<MultipathConfig>();
  ConfigProblems problems_;
  std::map<std::string, Origin> without_effect_;
};

// Writes the sections of `show config`.
struct MultipathConfig::Writer {
  const MultipathConfig& config;
  DumpStyle style;
  std::string text;

  void line(std::string_view indent, std::string_view what, const Origin& origin) {
    text += fmt::format("{}{}", indent, what);
    if (style == DumpStyle::origins) text += fmt::format("  # {}", origin.line == 0 ? "built in" : origin.text());
    text += '\n';
  }
  void entries(std::string_view indent, const Entries& of) {
    for (const Entry& entry : of) line(indent, written(*entry.setting, entry.value), entry.origin);
  }
  void pattern(std::string_view indent, std::string_view key, const std::optional<Pattern>& rule) {
    if (rule) text += fmt::format("{}{} {}\n", indent, key, in_quotes(rule->text()));
  }

  // Every setting that has an effect, as it stands; then those that were only accepted.
  void defaults() {
    text += "defaults {\n";
    for (const MapSetting& setting : map_setting_table()) {
      const auto written_down = std::ranges::find(config.defaults_, &setting, &Entry::setting);
      if (written_down != config.defaults_.end())
        line("\t", written(setting, written_down->value), written_down->origin);
      else if (setting.has_effect() && setting.in(SettingPlace::defaults) && !setting.built_in.empty())
        line("\t", written(setting, setting.built_in), Origin{});
    }
    text += "}\n";
  }
  void rules(std::string_view name, const Blacklist& list) {
    text += fmt::format("{} {{\n", name);
    for (const std::string& rule : list.devnode) text += fmt::format("\tdevnode {}\n", in_quotes(rule));
    for (const Pattern& rule : list.wwid) text += fmt::format("\twwid {}\n", in_quotes(rule.text()));
    for (const std::string& rule : list.property) text += fmt::format("\tproperty {}\n", in_quotes(rule));
    for (const Pattern& rule : list.protocol) text += fmt::format("\tprotocol {}\n", in_quotes(rule.text()));
    for (const DeviceRule& rule : list.device) {
      text += "\tdevice {\n";
      pattern("\t\t", "vendor", rule.vendor);
      pattern("\t\t", "product", rule.product);
      text += "\t}\n";
    }
    text += "}\n";
  }
  void device(const Device& of) {
    text += "\tdevice {\n";
    pattern("\t\t", "vendor", of.vendor);
    pattern("\t\t", "product", of.product);
    pattern("\t\t", "revision", of.revision);
    entries("\t\t", of.entries);
    text += "\t}\n";
  }
  void multipath(const Multipath& of) {
    text += fmt::format("\tmultipath {{\n\t\twwid {}\n", in_quotes(of.wwid));
    entries("\t\t", of.entries);
    text += "\t}\n";
  }
  void overrides() {
    text += "overrides {\n";
    entries("\t", config.overrides_);
    text += "}\n";
  }
};

bool MultipathConfig::Device::matches(std::string_view vendor_id, std::string_view product_id,
                                      std::string_view revision_id) const {
  return (!vendor || vendor->matches(vendor_id)) && (!product || product->matches(product_id)) &&
         (!revision || revision->matches(revision_id));
}

MapSettings MultipathConfig::settings_for(std::string_view wwid, std::string_view vendor, std::string_view product,
                                          std::string_view revision) const {
  MapSettings settings;
  const auto apply = [&settings](const Entries& entries) {
    for (const Entry& entry : entries)
      if (entry.setting->has_effect()) static_cast<void>(entry.setting->apply(entry.value, settings));
  };
  apply(defaults_);
  for (const Device& device : devices_)
    if (device.matches(vendor, product, revision)) apply(device.entries);
  apply(overrides_);
  for (const Multipath& multipath : multipaths_)
    if (multipath.wwid == wwid) apply(multipath.entries);
  BlacklistVerdict verdict = filter(blacklist_, exceptions_, wwid, vendor, product);
  settings.blacklisted = verdict.blacklisted;
  settings.blacklist_reason = std::move(verdict.reason);
  return settings;
}

int MultipathConfig::verbosity() const {
  MapSettings settings;
  for (const Entry& entry : defaults_)
    if (entry.setting->key == "verbosity") static_cast<void>(entry.setting->apply(entry.value, settings));
  return settings.verbosity;
}

std::string MultipathConfig::dump(DumpStyle style) const {
  Writer writer{.config = *this, .style = style, .text = {}};
  writer.defaults();
  writer.rules("blacklist", blacklist_);
  writer.rules("blacklist_exceptions", exceptions_);
  writer.text += "devices {\n";
  for (const Device& device : devices_) writer.device(device);
  writer.text += "}\n";
  writer.overrides();
  if (multipaths_.empty()) return writer.text;
  writer.text += "multipaths {\n";
  for (const Multipath& multipath : multipaths_) writer.multipath(multipath);
  return writer.text + "}\n";
}

std::string MultipathConfig::dump_local(std::span<const LocalMap> maps) const {
  Writer writer{.config = *this, .style = DumpStyle::values, .text = {}};
  writer.defaults();
  writer.rules("blacklist", blacklist_);
  writer.rules("blacklist_exceptions", exceptions_);
  writer.text += "devices {\n";
  for (const Device& device : devices_) {
    const auto used = [&](const LocalMap& map) { return device.matches(map.vendor, map.product, map.revision); };
    if (std::ranges::any_of(maps, used)) writer.device(device);
  }
  writer.text += "}\n";
  writer.overrides();
  writer.text += "multipaths {\n";
  for (const LocalMap& map : maps) {
    bool configured = false;
    for (const Multipath& multipath : multipaths_)
      if (multipath.wwid == map.wwid) {
        writer.multipath(multipath);
        configured = true;
      }
    if (configured) continue;
    writer.text += fmt::format("\tmultipath {{\n\t\twwid {}\n", in_quotes(map.wwid));
    if (map.name != map.wwid) writer.text += fmt::format("\t\t# alias {}\n", in_quotes(map.name));
    writer.text += "\t}\n";
  }
  return writer.text + "}\n";
}

std::string MultipathConfig::dump_json() const {
  using Json = nlohmann::ordered_json;
  const auto add_entries = [](Json& object, const Entries& entries) {
    for (const Entry& entry : entries)
      object[std::string(entry.setting->key)] = Json{{"value", entry.value}, {"origin", entry.origin.text()}};
  };
  const auto add_pattern = [](Json& object, const char* key, const std::optional<Pattern>& rule) {
    if (rule) object[key] = rule->text();
  };
  const auto rules = [&](const Blacklist& list) {
    Json object{{"devnode", list.devnode}, {"property", list.property}, {"wwid", Json::array()}, {"protocol", Json::array()},
                {"device", Json::array()}};
    for (const Pattern& rule : list.wwid) object["wwid"].push_back(rule.text());
    for (const Pattern& rule : list.protocol) object["protocol"].push_back(rule.text());
    for (const DeviceRule& rule : list.device) {
      Json device = Json::object();
      add_pattern(device, "vendor", rule.vendor);
      add_pattern(device, "product", rule.product);
      object["device"].push_back(std::move(device));
    }
    return object;
  };
  Json json{{"major_version", 0}, {"minor_version", 1}};
  Json& defaults = json["defaults"] = Json::object();
  for (const MapSetting& setting : map_setting_table())
    if (setting.has_effect() && setting.in(SettingPlace::defaults) && !setting.built_in.empty())
      defaults[std::string(setting.key)] = Json{{"value", setting.built_in}, {"origin", "default"}};
  add_entries(defaults, defaults_);
  json["blacklist"] = rules(blacklist_);
  json["blacklist_exceptions"] = rules(exceptions_);
  json["devices"] = Json::array();
  for (const Device& device : devices_) {
    Json object = Json::object();
    add_pattern(object, "vendor", device.vendor);
    add_pattern(object, "product", device.product);
    add_pattern(object, "revision", device.revision);
    Json& settings = object["settings"] = Json::object();
    add_entries(settings, device.entries);
    json["devices"].push_back(std::move(object));
  }
  Json& overrides = json["overrides"] = Json::object();
  add_entries(overrides, overrides_);
  json["multipaths"] = Json::array();
  for (const Multipath& multipath : multipaths_) {
    Json object{{"wwid", multipath.wwid}};
    Json& settings = object["settings"] = Json::object();
    add_entries(settings, multipath.entries);
    json["multipaths"].push_back(std::move(object));
  }
  return json.dump(3, ' ', false, Json::error_handler_t::replace) + "\n";
}

ConfigResult parse_multipath_config(std::span<const ConfigSource> sources) {
  ConfigTree all;
  for (const ConfigSource& source : sources) {
    ConfigTree tree = parse_config(ConfigGrammar::sections, source.text, source.name);
    all.root.append(std::move(tree.root));
    std::ranges::move(tree.problems, std::back_inserter(all.problems));
  }
  MultipathConfigBuilder builder(std::move(all.problems));
  builder.take(all.root);
  return builder.finish();
}

ConfigResult load_multipath_config(const Layout& layout) {
  std::vector<std::filesystem::path> files{layout.multipath_conf()};
  ConfigTree all;
  const std::filesystem::path directory = layout.etc() / "conf.d";
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    if (at->path().extension() == ".conf") files.push_back(at->path());
  if (error && error != std::errc::no_such_file_or_directory)
    all.problems.push_back({Severity::error, Origin{directory.string(), 0}, error.message()});
  std::sort(files.begin() + 1, files.end());
  for (const std::filesystem::path& file : files) {
    Result<ConfigTree> tree = read_config(ConfigGrammar::sections, file);
    if (tree) {
      all.root.append(std::move(tree->root));
      std::ranges::move(tree->problems, std::back_inserter(all.problems));
    } else if (tree.error() != std::errc::no_such_file_or_directory) {
      all.problems.push_back({Severity::error, Origin{file.string(), 0}, tree.error().message()});
    }
  }
  MultipathConfigBuilder builder(std::move(all.problems));
  builder.take(all.root);
  return builder.finish();
}

std::span<const std::string_view> structural_keywords() { return structural; }

}  // namespace mpath
