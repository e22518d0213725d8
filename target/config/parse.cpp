#include "target/config/parse.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "target/config/config_builder.hpp"
#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view labelled[] = {"account", "cluster", "portal_group", "lu", "target"};

void use_our_words(ConfigSection& section) {
  if (section.name != "target" && section.name != "discovery") return;
  for (ConfigEntry& entry : section.entries) {
    if (target_settings().find(section.name, entry.key) != nullptr) continue;
    const std::string_view ours = ours_of_ietd(entry.key);
    if (!ours.empty()) entry.key = ours;
  }
}

}  // namespace

ParsedConfig parse_targetd_config(std::span<const ConfigFile> files, const ReadSecret& read_secret,
                                  const NodeChoice& choice) {
  ConfigBuilder builder(read_secret, choice);
  for (const ConfigFile& file : files) builder.take_file(file);
  return builder.finish();
}

std::string show_settings(std::span<const ConfigObject> objects) {
  std::string text;
  for (const ConfigObject& object : objects) {
    text += fmt::format("{}{}{} {{  # {}\n", object.kind, object.label.empty() ? "" : " ",
                        object.label.empty() ? "" : config_quoted(object.label), object.origin.text());
    for (const SettingValues::Row& row : object.values.rows())
      text += fmt::format("  {} {}  # {}\n", row.key,
                          row.value.find(' ') == row.value.npos ? config_quoted(row.value) : row.value, row.origin);
    text += "}\n";
  }
  return text;
}

void ConfigBuilder::take_file(const ConfigFile& file) {
  ConfigTree tree = parse_config(ConfigGrammar::blocks, file.text, file.name);
  std::ranges::move(tree.problems, std::back_inserter(result_.problems));
  for (ConfigSection& section : tree.root.sections) use_our_words(section);
  std::ranges::move(target_settings().validate(tree.root), std::back_inserter(result_.problems));
  bool secrets_inside = false;
  for (const ConfigSection& section : tree.root.sections) {
    if (!target_settings().has_section(section.name)) continue;
    add_object(section, file.managed);
    for (const ConfigEntry& entry : section.entries) {
      const Setting* setting = target_settings().find(section.name, entry.key);
      if (setting != nullptr && setting->secret && (entry.words.size() > 1 || entry.key == "secret"))
        secrets_inside = true;
    }
  }
  if (secrets_inside && file.others_read)
    warn({file.name, 0}, "holds secrets and others may read it: chmod 0600, or use secret_file");
}

ParsedConfig ConfigBuilder::finish() {
  // Values of the wrong form would only lead to more words about the same lines.
  if (!has_errors(result_.problems)) {
    // Portal groups and units are looked at from the node that this one is.
    for (const Item& item : items_) {
      if (item.section.name == "cluster") build_cluster(item);
    }
    for (const Item& item : items_) build(item);
    cross_check();
  }
  return std::move(result_);
}

void ConfigBuilder::complain(const Origin& origin, std::string what) {
  result_.problems.push_back({ConfigProblem::Severity::error, origin, std::move(what)});
}

void ConfigBuilder::warn(const Origin& origin, std::string what) {
  result_.problems.push_back({ConfigProblem::Severity::warning, origin, std::move(what)});
}

void ConfigBuilder::add_object(const ConfigSection& section, bool managed) {
  const bool wants_label = std::ranges::find(labelled, section.name) != std::end(labelled);
  if (wants_label && section.label.empty())
    complain(section.origin, fmt::format("a {} has a name: {} NAME {{ ... }}", section.name, section.name));
  if (!wants_label && !section.label.empty()) complain(section.origin, fmt::format("{} has no name", section.name));
  for (const ConfigSection& inner : section.sections)
    complain(inner.origin, fmt::format("{} cannot stand inside of {}", inner.name, section.name));
  const auto same = std::ranges::find_if(result_.objects, [&](const ConfigObject& object) {
    return object.kind == section.name && object.label == section.label;
  });
  if (same != result_.objects.end()) {
    complain(section.origin,
             wants_label ? fmt::format("{} {} stands at {} already", section.name, section.label, same->origin.text())
                         : fmt::format("{} stands at {} already", section.name, same->origin.text()));
    return;
  }
  refuse_repetition(section);
  SettingValues values(target_settings(), section.name);
  values.apply(section);
  result_.objects.push_back({section.name, section.label, section.origin, managed, std::move(values)});
  items_.push_back({section, result_.objects.size() - 1});
}

void ConfigBuilder::refuse_repetition(const ConfigSection& section) {
  std::map<std::string, Origin> seen;
  for (const ConfigEntry& entry : section.entries) {
    const Setting* setting = target_settings().find(section.name, entry.key);
    if (setting == nullptr || setting->repeatable) continue;
    const auto [place, fresh] = seen.emplace(entry.key, entry.origin);
    if (!fresh) complain(entry.origin, fmt::format("{} stands at {} already", entry.key, place->second.text()));
  }
}

void ConfigBuilder::build(const Item& item) {
  const std::string& kind = item.section.name;
  // Accounts are looked up by those that name them, wherever they stand.
  if (kind == "account" || kind == "cluster") return;
  if (accounts_.empty()) build_accounts();
  if (kind == "global") build_global(item);
  if (kind == "discovery") build_authentication(item, result_.config.discovery);
  if (kind == "portal_group") build_group(item);
  if (kind == "lu") build_unit(item);
  if (kind == "target") build_target(item);
}

void ConfigBuilder::build_global(const Item& item) {
  const SettingValues& values = values_of(item);
  TargetdConfig& config = result_.config;
  config.shards = static_cast<unsigned>(values.integer("shards"));
  config.login.stage_timeout = values.duration("login_stage_timeout");
  config.login.login_timeout = values.duration("login_timeout");
  config.login.half_open_max = static_cast<std::size_t>(values.integer("half_open_max"));
  config.login.failures_before_lockout = static_cast<unsigned>(values.integer("chap_failures_max"));
  config.login.lockout = values.duration("chap_lockout");
}

std::string ConfigBuilder::fingerprint(const SettingValues& values) {
  std::string text;
  for (const SettingValues::Row& row : values.rows()) {
    if (row.value == "********") {
      for (const std::string& value : values.all(row.key)) text += row.key + '=' + value + '\n';
    } else {
      text += row.key + '=' + row.value + '\n';
    }
  }
  return text;
}

void ConfigBuilder::cross_check() {
  TargetdConfig& config = result_.config;
  if (accounts_.empty()) build_accounts();
  if (std::ranges::none_of(config.portal_groups, [](const auto& group) { return !group.peer; })) {
    if (std::ranges::any_of(config.portal_groups, [](const auto& group) { return group.tag == 1; }))
      complain({}, "only portal groups of a peer are named: one of this node is needed");
    else if (config.cluster)
      complain(
          config.cluster->origin,
          "a pair needs portal groups that say whose they are: portal_group 1 { portal ADDRESS; node a }, the same "
          "for b, or virtual yes for one on the virtual IP");
    else
      config.portal_groups.insert(config.portal_groups.begin(), PortalGroupConfig{.portals = {{"0.0.0.0", 3260}}});
  }
  for (const auto& [name, origin] : unit_uses_) {
    if (std::ranges::none_of(config.units, [&name](const LuConfig& unit) { return unit.name == name; }))
      complain(origin, fmt::format("there is no lu {}", name));
  }
  for (const auto& [tag, origin] : group_uses_) {
    if (std::ranges::none_of(config.portal_groups, [&tag](const auto& group) { return group.tag == tag; }))
      complain(origin, fmt::format("there is no portal_group {}", tag));
  }
  cross_check_cluster();
  std::set<std::string> names;
  for (const LuConfig& unit : config.units) {
    if (!names.insert(unit.name).second) complain(unit.origin, fmt::format("a lu {} is there already", unit.name));
  }
  for (const LuConfig& unit : config.units) {
    const bool used = std::ranges::any_of(config.targets, [&unit](const TargetConfig& target) {
      return std::ranges::any_of(target.luns, [&unit](const auto& lun) { return lun.second == unit.name; });
    });
    if (!used && !unit.managed) warn(unit.origin, fmt::format("lu {} is in no target", unit.name));
  }
  for (const TargetConfig& target : config.targets) {
    if (target.luns.empty() && !target.managed && target.redirect == Redirect::none)
      warn(target.origin, fmt::format("target {} has no lun", target.name));
  }
}

}  // namespace mpath::target
