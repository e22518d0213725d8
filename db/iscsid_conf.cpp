#include "db/iscsid_conf.hpp"

#include <fmt/format.h>

#include "db/settings.hpp"

namespace mpath::db {
namespace {

using Severity = ConfigProblem::Severity;

bool is_daemon_key(std::string_view key) {
  return key.starts_with("iscsid.") || key.starts_with("isns.");
}

// A secret is never repeated in a message.
std::string refused(const Setting& setting, const std::string& value) {
  const std::string shown = setting.type == SettingType::secret ? "the value" : fmt::format("'{}'", value);
  return fmt::format("{}: {} is not {}", setting.key, shown, expectation(setting));
}

void take(const ConfigEntry& entry, IscsidConf& conf) {
  const Setting* setting = find_setting(entry.key);
  if (setting == nullptr || entry.key.starts_with("iface.")) {
    conf.problems.push_back({Severity::warning, entry.origin, fmt::format("unknown setting {}", entry.key)});
    return;
  }
  if (setting->use == SettingUse::identity) {
    conf.problems.push_back(
        {Severity::warning, entry.origin, fmt::format("{} belongs to one record and has no default", entry.key)});
    return;
  }
  auto value = normalise(*setting, entry.value);
  if (!value) {
    conf.problems.push_back({Severity::error, entry.origin, refused(*setting, entry.value)});
    return;
  }
  (is_daemon_key(entry.key) ? conf.daemon : conf.record_defaults).insert_or_assign(entry.key, *std::move(value));
}

IscsidConf from_tree(ConfigTree tree) {
  IscsidConf conf{.record_defaults = {}, .daemon = compiled_defaults(daemon_table()), .problems = {}};
  conf.problems = std::move(tree.problems);
  for (const ConfigEntry& entry : tree.root.entries) take(entry, conf);
  return conf;
}

}  // namespace

IscsidConf parse_iscsid_conf(std::string_view text, const std::string& name) {
  return from_tree(parse_config(ConfigGrammar::flat, text, name));
}

Result<IscsidConf> read_iscsid_conf(const std::filesystem::path& file) {
  auto tree = read_config(ConfigGrammar::flat, file);
  if (!tree && tree.error() == std::errc::no_such_file_or_directory) return from_tree({});
  if (!tree) return failure(tree.error());
  return from_tree(*std::move(tree));
}

}  // namespace mpath::db
