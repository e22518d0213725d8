#include "db/open_iscsi_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <set>
#include <span>

#include "base/config_text.hpp"
#include "base/unique_fd.hpp"
#include "db/settings.hpp"

namespace mpath::db {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

template <typename Number>
Number number_or(std::string_view text, Number fallback) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? number : fallback;
}

// The names in a directory, sorted; none when it is missing.
std::vector<fs::path> list(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  std::ranges::sort(entries);
  return entries;
}

// Keys of old versions that say nothing any more.
bool is_obsolete(std::string_view key) {
  return key.ends_with("_length") || key.starts_with("node.active_c") || key == "node.transport_name";
}

class Import {
 public:
  Import(Store& store, fs::path root) : store_(store), root_(std::move(root)) {}

  Result<FilesReport> run() {
    std::error_code error;
    if (!fs::is_directory(root_, error)) return failure(error ? error : error_code(ENOTDIR, std::generic_category()));
    for (auto part : {&Import::ifaces, &Import::sendtargets, &Import::isns, &Import::nodes}) {
      if (const error_code failed = (this->*part)()) return failure(failed);
    }
    return std::move(report_);
  }

 private:
  void skip(const fs::path& file, std::string_view why) {
    report_.problems.push_back(fmt::format("{}: {}", file.string(), why));
  }

  // The record in a file; nullopt (and a problem) when there is none.
  std::optional<Settings> read(const fs::path& file) {
    const auto tree = read_config(ConfigGrammar::flat, file);
    if (!tree) {
      skip(file, tree.error().message());
      return std::nullopt;
    }
    Settings settings;
    for (const ConfigEntry& entry : tree->root.entries) {
      if (entry.value != "<empty>") settings.insert_or_assign(entry.key, entry.value);
    }
    if (settings.empty()) {
      skip(file, "no record in it, skipped");
      return std::nullopt;
    }
    return settings;
  }

  // What of `settings` may be set in a record of the table.
  Settings settable(const fs::path& file, std::span<const Setting> table, const Settings& settings) {
    Settings good;
    for (const auto& [key, value] : settings) {
      const auto row = std::ranges::find(table, std::string_view(key), &Setting::key);
      if (row == table.end()) {
        if (!is_obsolete(key) && !key.starts_with("iface.")) skip(file, fmt::format("unknown setting {}", key));
      } else if (row->use == SettingUse::settable) {
        if (auto stored = normalise(*row, value)) {
          good.emplace(key, *std::move(stored));
        } else {
          skip(file, fmt::format("{} is not {}, skipped", key, expectation(*row)));
        }
      }
    }
    return good;
  }

  // Counts an added record; a record that was there is no failure, and neither is one that is refused.
  error_code settle(const fs::path& file, error_code error, unsigned& counter) {
    if (!error) {
      ++counter;
    } else if (error == StoreErrc::exists) {
      ++report_.known;
    } else if (error == StoreErrc::bad_value || error == StoreErrc::unknown_key) {
      skip(file, error.message());
    } else {
      return error;
    }
    return {};
  }

  error_code ifaces() {
    for (const fs::path& file : list(root_ / "ifaces")) {
      const std::string name = file.filename();
      if (name == "default") continue;
      const auto settings = read(file);
      if (!settings) continue;
      const error_code error = store_.add_iface(name, settable(file, iface_table(), *settings));
      if (const error_code failed = settle(file, error, report_.ifaces)) return failed;
    }
    return {};
  }

  error_code sendtargets() { return discoveries("send_targets", "st_config", "sendtargets"); }
  error_code isns() { return discoveries("isns", "isns_config", "isns"); }

  // <part>/<address>,<port>/<config>, and links named <target>,<address>,<port>,<tpgt>,<iface>.
  error_code discoveries(const char* part, const char* config, const char* type) {
    for (const fs::path& directory : list(root_ / part)) {
      const auto where = split(directory.filename().string(), ',');
      const auto settings = read(directory / config);
      if (!settings) continue;
      const DiscoveryKey key{.type = type,
                             .address = where[0],
                             .port = where.size() > 1 ? number_or<std::uint16_t>(where[1], 3260) : std::uint16_t{3260}};
      const error_code error =
          store_.add_discovery(key, settable(directory / config, discovery_table(type), *settings));
      if (const error_code failed = settle(directory, error, report_.discoveries)) return failed;
      if (error) continue;
      if (const error_code failed = links(directory, key)) return failed;
    }
    return {};
  }

  // The nodes a discovery found become its records, so that it may remove them again; their values come afterwards.
  error_code links(const fs::path& directory, const DiscoveryKey& key) {
    for (const fs::path& link : list(directory)) {
      const auto parts = split(link.filename().string(), ',');
      if (parts.size() < 4) continue;
      const std::string iface = parts.size() > 4 ? parts[4] : "default";
      const NodeAddress found{.target_name = parts[0],
                              .address = parts[1],
                              .port = number_or<std::uint16_t>(parts[2], 0),
                              .tpgt = number_or(parts[3], -1)};
      const NodeKey node{found.target_name, canonical_address(found.address), found.port, found.tpgt, iface};
      const bool was_known = store_.node(node).has_value();
      Store::Merge merge;
      merge.found = {found};
      merge.ifaces = {iface};
      merge.remove_stale = false;
      const auto merged = store_.merge_discovery(key, merge);
      if (merged && !was_known) made_.insert(node);
      if (merged) continue;
      if (merged.error() != StoreErrc::not_found && merged.error() != StoreErrc::bad_value) return merged.error();
      if (merged.error() == StoreErrc::bad_value) skip(link, "not the name of a node");
    }
    return {};
  }

  error_code nodes() {
    for (const fs::path& target : list(root_ / "nodes")) {
      for (const fs::path& portal : list(target)) {
        std::error_code ignored;
        const bool by_iface = fs::is_directory(portal, ignored);
        for (const fs::path& file : by_iface ? list(portal) : std::vector{portal}) {
          if (const error_code error = node(file, target, portal, by_iface)) return error;
        }
      }
    }
    return {};
  }

  error_code node(const fs::path& file, const fs::path& target, const fs::path& portal, bool by_iface) {
    const auto settings = read(file);
    if (!settings) return {};
    // What the record says goes before what its path says.
    const auto where = split(portal.filename().string(), ',');
    const auto said = [&settings](const char* key, std::string fallback) {
      const auto found = settings->find(key);
      return found == settings->end() ? fallback : found->second;
    };
    const std::string iface = by_iface ? file.filename().string() : said("iface.iscsi_ifacename", "default");
    const NodeKey key{
        .target_name = said("node.name", target.filename()),
        .address = canonical_address(said("node.conn[0].address", where[0])),
        .port = number_or<std::uint16_t>(said("node.conn[0].port", where.size() > 1 ? where[1] : "3260"), 0),
        .tpgt = number_or(said("node.tpgt", where.size() > 2 ? where[2] : "-1"), -1),
        .iface = iface};
    if (const error_code error = need_iface(file, iface, *settings)) return error;
    Settings values = settable(file, node_table(), *settings);
    std::erase_if(values,
                  [](const auto& item) { return item.first.starts_with("iface."); });  // the iface record has them
    if (made_.contains(key)) return settle(file, store_.update_node(key, values), report_.nodes);
    for (const char* origin : {"node.discovery_address", "node.discovery_port", "node.discovery_type"}) {
      if (const auto found = settings->find(origin); found != settings->end()) values.insert(*found);
    }
    return settle(file, store_.add_node(key, values), report_.nodes);
  }

  error_code need_iface(const fs::path& file, const std::string& name, const Settings& settings) {
    if (name == "default" || store_.iface(name)) return {};
    Settings own;
    for (const auto& [key, value] : settings) {
      if (key.starts_with("iface.")) own.emplace(key, value);
    }
    return settle(file, store_.add_iface(name, settable(file, iface_table(), own)), report_.ifaces);
  }

  Store& store_;
  const fs::path root_;
  FilesReport report_;
  std::set<NodeKey> made_;  // by links(), not by an administrator before
};

// --- export ----------------------------------------------------------------------------------------------------------

error_code errno_code() {
  return {errno, std::generic_category()};
}

error_code make_directory(const fs::path& directory) {
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return {};
  if (errno != ENOENT || !directory.has_relative_path()) return errno_code();
  if (const error_code error = make_directory(directory.parent_path())) return error;
  return ::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST ? error_code{} : errno_code();
}

error_code write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) return errno_code();
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

error_code write_whole(const fs::path& file, std::string_view text) {
  const std::string scratch = file.string() + ".new";
  ::unlink(scratch.c_str());
  UniqueFd fd(::open(scratch.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno_code();
  error_code error = write_all(fd.get(), text);
  if (!error && ::fsync(fd.get()) != 0) error = errno_code();
  if (!error && ::rename(scratch.c_str(), file.c_str()) != 0) error = errno_code();
  if (error) ::unlink(scratch.c_str());
  return error;
}

// A record as open-iscsi keeps it in a file: unset keys are left out, secrets are not masked.
std::string file_text(std::span<const Setting> table, const Settings& settings, const std::string& version) {
  std::string text = fmt::format("# BEGIN RECORD {}\n", version);
  for (const Setting& row : table) {
    const auto found = settings.find(std::string(row.key));
    if (found != settings.end() && !found->second.empty()) text += fmt::format("{} = {}\n", row.key, found->second);
  }
  return text += "# END RECORD\n";
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos && name.size() <= 255;
}

std::string portal_name(const NodeKey& key) {
  return fmt::format("{},{},{}", key.address, key.port, key.tpgt);
}

error_code write_node(const fs::path& root, const NodeRecord& record, const std::string& version) {
  const fs::path directory = root / "nodes" / record.key.target_name / portal_name(record.key);
  if (const error_code error = make_directory(directory)) return error;
  return write_whole(directory / record.key.iface, file_text(node_table(), record.settings, version));
}

error_code write_discovery(const fs::path& root, const DiscoveryRecord& record, const std::string& version) {
  const bool isns = record.key.type == "isns";
  const fs::path directory =
      root / (isns ? "isns" : "send_targets") / fmt::format("{},{}", record.key.address, record.key.port);
  if (const error_code error = make_directory(directory)) return error;
  for (const NodeKey& node : record.found) {
    if (!is_file_name(node.target_name)) continue;
    const fs::path link = directory / fmt::format("{},{},{}", node.target_name, portal_name(node), node.iface);
    const fs::path to = root / "nodes" / node.target_name / portal_name(node);
    ::unlink(link.c_str());
    if (::symlink(fs::absolute(to).c_str(), link.c_str()) != 0) return errno_code();
  }
  return write_whole(directory / (isns ? "isns_config" : "st_config"),
                     file_text(discovery_table(record.key.type), record.settings, version));
}

}  // namespace

Result<FilesReport> import_open_iscsi(Store& store, const fs::path& root) {
  return Import(store, root).run();
}

Result<FilesReport> export_open_iscsi(Store& store, const fs::path& root, const std::string& version) {
  FilesReport report;
  const auto nodes = store.nodes({});
  if (!nodes) return failure(nodes.error());
  const auto discoveries = store.discoveries();
  if (!discoveries) return failure(discoveries.error());
  const auto ifaces = store.ifaces();
  if (!ifaces) return failure(ifaces.error());
  for (const char* part : {"nodes", "send_targets", "ifaces"}) {
    if (const error_code error = make_directory(root / part)) return failure(error);
  }
  for (const IfaceRecord& record : *ifaces) {
    if (record.name == "default") continue;
    const std::string text = file_text(iface_table(), record.settings, version);
    if (const error_code error = write_whole(root / "ifaces" / record.name, text)) return failure(error);
    ++report.ifaces;
  }
  for (const NodeRecord& record : *nodes) {
    if (!is_file_name(record.key.target_name) || !is_file_name(portal_name(record.key))) {
      report.problems.push_back(fmt::format("{}: cannot be the name of a file, skipped", record.key.target_name));
      continue;
    }
    if (const error_code error = write_node(root, record, version)) return failure(error);
    ++report.nodes;
  }
  for (const DiscoveryRecord& record : *discoveries) {
    if (!is_file_name(record.key.address)) {
      report.problems.push_back(fmt::format("{}: cannot be the name of a file, skipped", record.key.address));
      continue;
    }
    if (const error_code error = write_discovery(root, record, version)) return failure(error);
    ++report.discoveries;
  }
  return report;
}

}  // namespace mpath::db
