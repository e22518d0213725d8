#include "initiator/session_report.hpp"

#include <nlohmann/json.hpp>

namespace mpath {
namespace {

using nlohmann::json;

constexpr SessionPhase phases[] = {SessionPhase::preparing, SessionPhase::connecting, SessionPhase::logged_in, SessionPhase::waiting,
                                   SessionPhase::stopping};

SessionPhase phase_of(const std::string& word) {
  for (const SessionPhase phase : phases) {
    if (word == to_word(phase)) return phase;
  }
  return SessionPhase::waiting;  // a newer daemon's word
}

SessionCounters counters_from(const json& from) {
  SessionCounters counters;
  counters.tx_bytes = from.at("tx_bytes");
  counters.rx_bytes = from.at("rx_bytes");
  counters.commands = from.at("commands");
  counters.responses = from.at("responses");
  counters.nop_out = from.at("nop_out");
  counters.nop_in = from.at("nop_in");
  counters.task_management = from.at("task_management");
  counters.timeouts = from.at("timeouts");
  counters.system_calls = from.at("system_calls");
  return counters;
}

json parameters_of(const SessionInfo& info) {
  return {{"header_digest", info.header_digest},
          {"data_digest", info.data_digest},
          {"max_recv_data_segment_length", info.max_recv_data_segment_length},
          {"max_xmit_data_segment_length", info.max_xmit_data_segment_length},
          {"first_burst_length", info.first_burst_length},
          {"max_burst_length", info.max_burst_length},
          {"immediate_data", info.immediate_data},
          {"initial_r2t", info.initial_r2t},
          {"max_outstanding_r2t", info.max_outstanding_r2t},
          {"local_address", info.local_address},
          {"net_ifacename", info.net_ifacename},
          {"portal_group", info.portal_group}};
}

SessionInfo info_from(const json& from) {
  SessionInfo info;
  info.header_digest = from.at("header_digest");
  info.data_digest = from.at("data_digest");
  info.max_recv_data_segment_length = from.at("max_recv_data_segment_length");
  info.max_xmit_data_segment_length = from.at("max_xmit_data_segment_length");
  info.first_burst_length = from.at("first_burst_length");
  info.max_burst_length = from.at("max_burst_length");
  info.immediate_data = from.at("immediate_data");
  info.initial_r2t = from.at("initial_r2t");
  info.max_outstanding_r2t = from.at("max_outstanding_r2t");
  info.local_address = from.at("local_address");
  info.net_ifacename = from.at("net_ifacename");
  info.portal_group = from.at("portal_group");
  return info;
}

db::NodeKey key_from(const json& from) {
  return {.target_name = from.at("target"),
          .address = from.at("address"),
          .port = from.at("port"),
          .tpgt = from.at("tpgt"),
          .iface = from.at("iface")};
}

SessionReport report_from(const json& from) {
  SessionReport report;
  report.sid = from.at("sid");
  report.node = key_from(from.at("node"));
  report.phase = phase_of(from.at("state"));
  report.established = from.at("established");
  report.current_address = from.at("current_address");
  report.initiator_name = from.at("initiator_name");
  report.transport = from.at("transport");
  report.hwaddress = from.at("hwaddress");
  report.net_ifacename = from.at("net_ifacename");
  const json& timeouts = from.at("timeouts");
  report.timeouts = {.recovery = timeouts.at("recovery"),
                     .target_reset = timeouts.at("target_reset"),
                     .lun_reset = timeouts.at("lun_reset"),
                     .abort = timeouts.at("abort")};
  report.chap_name = from.at("chap").at("username");
  report.chap_in_name = from.at("chap").at("username_in");
  report.info = info_from(from.at("parameters"));
  report.counters = counters_from(from.at("counters"));
  report.logins = from.at("logins");
  report.last_failure = from.at("last_failure");
  for (const json& device : from.at("devices")) {
    report.devices.push_back({.lun = device.at("lun"), .name = device.at("name"), .state = device.at("state")});
  }
  return report;
}

}  // namespace

std::string_view to_word(SessionPhase phase) {
  switch (phase) {
    case SessionPhase::preparing: return "preparing";
    case SessionPhase::connecting: return "connecting";
    case SessionPhase::logged_in: return "logged_in";
    case SessionPhase::waiting: return "waiting";
    case SessionPhase::stopping: return "stopping";
  }
  return "";
}

json to_json(const db::NodeKey& key) {
  return {{"target", key.target_name}, {"address", key.address}, {"port", key.port}, {"tpgt", key.tpgt}, {"iface", key.iface}};
}

json to_json(const SessionCounters& counters) {
  return {{"tx_bytes", counters.tx_bytes},
          {"rx_bytes", counters.rx_bytes},
          {"commands", counters.commands},
          {"responses", counters.responses},
          {"nop_out", counters.nop_out},
          {"nop_in", counters.nop_in},
          {"task_management", counters.task_management},
          {"timeouts", counters.timeouts},
          {"system_calls", counters.system_calls}};
}

json to_json(const SessionReport& report) {
  json devices = json::array();
  for (const auto& device : report.devices) {
    devices.push_back({{"lun", device.lun}, {"name", device.name}, {"state", device.state}});
  }
  return {{"sid", report.sid},
          {"node", to_json(report.node)},
          {"state", to_word(report.phase)},
          {"established", report.established},
          {"current_address", report.current_address},
          {"initiator_name", report.initiator_name},
          {"transport", report.transport},
          {"hwaddress", report.hwaddress},
          {"net_ifacename", report.net_ifacename},
          {"timeouts",
           {{"recovery", report.timeouts.recovery},
            {"target_reset", report.timeouts.target_reset},
            {"lun_reset", report.timeouts.lun_reset},
            {"abort", report.timeouts.abort}}},
          {"chap", {{"username", report.chap_name}, {"username_in", report.chap_in_name}}},
          {"parameters", parameters_of(report.info)},
          {"counters", to_json(report.counters)},
          {"logins", report.logins},
          {"last_failure", report.last_failure},
          {"devices", std::move(devices)}};
}

Result<db::NodeKey> node_key_from_json(const json& from) {
  try {
    return key_from(from);
  } catch (const json::exception&) {
    return failure(EPROTO);
  }
}

Result<SessionReport> session_report_from_json(const json& from) {
  try {
    return report_from(from);
  } catch (const json::exception&) {
    return failure(EPROTO);
  }
}

}  // namespace mpath
