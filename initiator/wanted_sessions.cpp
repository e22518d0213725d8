#include "initiator/wanted_sessions.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "initiator/session_report.hpp"

namespace mpath {
namespace {

using nlohmann::json;

constexpr int format_version = 1;

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
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

Result<std::set<db::NodeKey>> load_wanted(const std::filesystem::path& file, std::string_view boot) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    if (error) return failure(error);
    return std::set<db::NodeKey>();
  }
  return parse_wanted(read_text(file), boot);
}

}  // namespace mpath
