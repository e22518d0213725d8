#include "mpathd/command_json.hpp"

#include <map>
#include <nlohmann/json.hpp>

#include "mpathd/command_words.hpp"
#include "mpathd/wildcards.hpp"

namespace mpath {
namespace {

using Json = nlohmann::ordered_json;

constexpr int indent = 3;

Json document() { return Json{{"major_version", 0}, {"minor_version", 1}}; }

// Text that came from targets need not be UTF-8; the reader's parser must not choke on it.
std::string printed(const Json& json) { return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n"; }

struct NamedLetter {
  const char* name;
  char letter;
};

constexpr NamedLetter path_fields[] = {
    {"dev", 'd'},       {"dev_t", 'D'},       {"dm_st", 't'},     {"dev_st", 'o'},      {"chk_st", 'T'},
    {"checker", 'c'},   {"pri", 'p'},         {"host_wwnn", 'N'}, {"target_wwnn", 'n'}, {"host_wwpn", 'R'},
    {"target_wwpn", 'r'}, {"host_adapter", 'a'}, {"lun_hex", 'L'},   {"marginal_st", 'M'},
};

Json path_object(const PathSnapshot& path) {
  Json object = Json::object();
  for (const NamedLetter& field : path_fields) object[field.name] = wildcard_text(path, field.letter);
  object["pri"] = path.priority;
  return object;
}

Json group_object(const GroupSnapshot& group, std::size_t number) {
  Json object = Json::object();
  object["selector"] = group.selector;
  object["pri"] = group.priority;
  object["dm_st"] = wildcard_text(group, 't');
  object["marginal_st"] = wildcard_text(group, 'M');
  object["group"] = number;
  object["paths"] = Json::array();
  for (const PathSnapshot& path : group.paths) object["paths"].push_back(path_object(path));
  return object;
}

Json map_object(const MapSnapshot& map) {
  Json object = Json::object();
  object["name"] = wildcard_text(map, 'n');
  object["uuid"] = map.wwid;
  object["sysfs"] = wildcard_text(map, 'd');
  object["failback"] = wildcard_text(map, 'F');
  object["queueing"] = wildcard_text(map, 'Q');
  object["paths"] = usable_paths(map);
  object["write_prot"] = wildcard_text(map, 'r');
  object["dm_st"] = wildcard_text(map, 't');
  object["features"] = map.features;
  object["hwhandler"] = map.hwhandler;
  object["action"] = map.action;
  object["path_faults"] = map.path_faults;
  object["vend"] = wildcard_text(map, 'v');
  object["prod"] = wildcard_text(map, 'p');
  object["rev"] = wildcard_text(map, 'e');
  object["switch_grp"] = map.switch_group;
  object["map_loads"] = map.map_loads;
  object["total_q_time"] = map.total_queue_seconds;
  object["q_timeouts"] = map.queue_timeouts;
  object["path_groups"] = Json::array();
  for (std::size_t i = 0; i < map.groups.size(); ++i)
    object["path_groups"].push_back(group_object(map.groups[i], i + 1));
  return object;
}

template <typename Wildcard, typename Object>
Json row(std::string_view format, std::span<const Wildcard> table, const Object& of) {
  Json object = Json::object();
  for (std::size_t at = format.find('%'); at < format.size() && at + 1 < format.size(); at = format.find('%', at + 2))
    for (const Wildcard& wildcard : table)
      if (wildcard.letter == format[at + 1]) object[std::string(wildcard.header)] = wildcard.text(of);
  return object;
}

template <typename Table>
Json letters(const Table& table) {
  Json object = Json::object();
  for (const auto& wildcard : table) object[std::string(1, wildcard.letter)] = std::string(wildcard.header);
  return object;
}

}  // namespace

std::string maps_json(std::span<const MapSnapshot> maps) {
  Json json = document();
  json["maps"] = Json::array();
  for (const MapSnapshot& map : maps) json["maps"].push_back(map_object(map));
  return printed(json);
}

std::string map_json(const MapSnapshot& map) {
  Json json = document();
  json["map"] = map_object(map);
  return printed(json);
}

std::string paths_json(std::span<const PathSnapshot* const> paths) {
  Json json = document();
  json["paths"] = Json::array();
  for (const PathSnapshot* path : paths) {
    Json object = path_object(*path);
    object["hcil"] = wildcard_text(*path, 'i');
    object["multipath"] = path->map.empty() ? Json(nullptr) : Json(path->map);
    object["uuid"] = path->wwid;
    object["vend"] = path->vendor;
    object["prod"] = path->product;
    object["rev"] = path->revision;
    object["serial"] = path->serial;
    object["size_bytes"] = path->size_bytes;
    object["target"] = path->target_name;
    object["initiator"] = path->initiator_name;
    object["portal"] = path->portal;
    object["iface"] = path->iface;
    object["net_ifacename"] = path->net_ifacename;
    object["protocol"] = path->protocol;
    object["init_st"] = path->init_state;
    object["failures"] = path->failures;
    object["next_check"] = path->next_check;
    object["check_interval"] = path->check_interval;
    object["in_flight"] = path->in_flight;
    object["read_ios"] = path->read_ios;
    object["write_ios"] = path->write_ios;
    object["read_bytes"] = path->read_bytes;
    object["write_bytes"] = path->write_bytes;
    json["paths"].push_back(std::move(object));
  }
  return printed(json);
}

std::string path_rows_json(std::string_view format, std::span<const PathSnapshot* const> paths) {
  Json json = document();
  json["paths"] = Json::array();
  for (const PathSnapshot* path : paths) json["paths"].push_back(row(format, path_wildcards(), *path));
  return printed(json);
}

std::string map_rows_json(std::string_view format, std::span<const MapSnapshot> maps) {
  Json json = document();
  json["maps"] = Json::array();
  for (const MapSnapshot& map : maps) json["maps"].push_back(row(format, map_wildcards(), map));
  return printed(json);
}

std::string status_json(std::span<const PathSnapshot* const> paths, bool busy) {
  Json json = document();
  json["path_checker_states"] = Json::object();
  for (const auto& [state, count] : count_checker_states(paths))
    json["path_checker_states"][std::string(checker_state_name(state))] = count;
  json["paths"] = paths.size();
  json["busy"] = busy;
  return printed(json);
}

std::string daemon_json(const DaemonState& state) {
  Json json = document();
  json["pid"] = state.pid;
  json["state"] = std::string(phase_word(state.phase));
  json["pending_reconfigure"] = state.reconfigure_pending;
  return printed(json);
}

std::string wildcards_json() {
  Json json = document();
  json["map"] = letters(map_wildcards());
  json["path"] = letters(path_wildcards());
  json["group"] = letters(group_wildcards());
  return printed(json);
}

std::string text_json(std::string_view text) {
  Json json = document();
  json["text"] = std::string(text);
  return printed(json);
}

std::string outcome_json(bool ok, std::string_view text) {
  Json json = document();
  json["ok"] = ok;
  if (!text.empty()) json["text"] = std::string(text);
  return printed(json);
}

}  // namespace mpath
