#include "initiator/wanted_sessions.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/unique_fd.hpp"
#include "initiator/session_report.hpp"

namespace mpath {
namespace {

using nlohmann::json;

constexpr int format_version = 1;

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The kernel's name for this boot; empty (and so always the same) where it has none.
std::string boot_id() {
  std::string id = read_text("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

error_code last_error() { return {errno != 0 ? errno : EIO, std::generic_category()}; }

error_code write_durably(const std::filesystem::path& file, std::string_view text) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (fd.get() < 0) return last_error();
  while (!text.empty()) {
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return last_error();
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(fd.get()) == 0 ? error_code{} : last_error();
}

error_code sync_directory(const std::filesystem::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.get() >= 0 && ::fsync(fd.get()) == 0 ? error_code{} : last_error();
}

}  // namespace

std::string format_wanted(const std::set<db::NodeKey>& keys, std::string_view boot) {
  json nodes = json::array();
  for (const auto& key : keys) nodes.push_back(to_json(key));
  return json{{"version", format_version}, {"boot", boot}, {"nodes", std::move(nodes)}}.dump(1) + "\n";
}

Result<std::set<db::NodeKey>> parse_wanted(std::string_view text, std::string_view boot) {
  const json root = json::parse(text, nullptr, false);
  if (!root.is_object() || !root.contains("boot") || !root["boot"].is_string()) return failure(EPROTO);
  if (root.value("version", 0) != format_version) return failure(EPROTO);
  std::set<db::NodeKey> keys;
  if (root["boot"].get<std::string>() != boot) return keys;
  const auto nodes = root.find("nodes");
  if (nodes == root.end() || !nodes->is_array()) return failure(EPROTO);
  for (const json& node : *nodes) {
    auto key = node_key_from_json(node);
    if (!key) return failure(key.error());
    keys.insert(std::move(*key));
  }
  return keys;
}

error_code save_wanted(const std::filesystem::path& file, const std::set<db::NodeKey>& keys) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) return error;
  const std::filesystem::path beside = file.string() + ".new";
  if ((error = write_durably(beside, format_wanted(keys, boot_id())))) {
    ::unlink(beside.c_str());
    return error;
  }
  if (::rename(beside.c_str(), file.c_str()) != 0) {
    error = last_error();
    ::unlink(beside.c_str());
    return error;
  }
  return sync_directory(file.parent_path());
}

Result<std::set<db::NodeKey>> load_wanted(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    if (error) return failure(error);
    return std::set<db::NodeKey>();
  }
  return parse_wanted(read_text(file), boot_id());
}

}  // namespace mpath
