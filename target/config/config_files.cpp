#include "target/config/config_files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/atomic_file.hpp"

namespace mpath::target {
namespace {

std::expected<ConfigFile, std::string> read_one(const std::filesystem::path& path) {
  auto text = read_file(path, config_bytes_max);
  if (!text) return std::unexpected(fmt::format("{}: {}", path.string(), text.error().message()));
  ConfigFile file{.name = path.string(), .text = std::move(*text)};
  file.managed = file.text.starts_with(managed_mark);
  struct stat status{};
  file.others_read = ::stat(path.c_str(), &status) == 0 && (status.st_mode & 004) != 0;
  return file;
}

}  // namespace

std::expected<std::vector<ConfigFile>, std::string> read_config_files(const Layout& layout,
                                                                      const std::filesystem::path& instead) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  if (!instead.empty())
    paths.push_back(instead);
  else if (std::filesystem::exists(layout.target_conf(), error))
    paths.push_back(layout.target_conf());
  std::vector<std::filesystem::path> pieces;
  for (std::filesystem::directory_iterator entry(layout.target_conf_d(), error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".conf") pieces.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return std::unexpected(fmt::format("{}: {}", layout.target_conf_d().string(), error.message()));
  std::ranges::sort(pieces);
  paths.insert(paths.end(), pieces.begin(), pieces.end());
  std::vector<ConfigFile> files;
  for (const auto& path : paths) {
    auto file = read_one(path);
    if (!file) return std::unexpected(file.error());
    files.push_back(std::move(*file));
  }
  return files;
}

std::filesystem::path managed_file(const Layout& layout, std::string_view kind, std::string_view label) {
  std::string name = fmt::format("{}-{}", kind, label);
  // Names of iSCSI hold colons, and nothing else that a file name cannot; a slash would leave the directory.
  std::ranges::replace(name, '/', '_');
  return layout.target_conf_d() / (name + ".conf");
}

std::string section_text(const ConfigSection& section) {
  std::string text = section.name;
  if (!section.label.empty()) text += ' ' + config_quoted(section.label);
  text += " {\n";
  for (const ConfigEntry& entry : section.entries) {
    text += "  " + entry.key;
    for (const std::string& word : entry.words) text += ' ' + config_quoted(word);
    text += '\n';
  }
  return text + "}\n";
}

std::string managed_text(const ConfigSection& section) {
  return fmt::format("{}\n{}", managed_mark, section_text(section));
}

}  // namespace mpath::target
