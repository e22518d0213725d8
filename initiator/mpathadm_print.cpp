#include "initiator/mpathadm_print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "db/settings.hpp"

namespace mpath::adm {
namespace {

constexpr std::string_view empty_mark = "<empty>";
constexpr std::string_view secret_mark = "********";

std::string_view or_empty(std::string_view value) { return value.empty() ? empty_mark : value; }

std::string_view value_of(const db::Settings& settings, const std::string& key) {
  const auto at = settings.find(key);
  return at == settings.end() ? std::string_view() : std::string_view(at->second);
}

bool is_ipv6(std::string_view address) { return address.find(':') != address.npos; }

// Appends formatted lines to one string.
class Text {
 public:
  template <typename... Args>
  Text& line(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
    return *this;
  }
  // The familiar tool's stars are as many as the title has characters, but for one title.
  Text& banner(std::string_view title, std::size_t star_count = 0) {
    const std::string stars(star_count != 0 ? star_count : title.size(), '*');
    return line("\t\t{}", stars).line("\t\t{}", title).line("\t\t{}", stars);
  }
  Text& append(std::string_view more) {
    text_ += more;
    return *this;
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string_view connection_state(SessionPhase phase) {
  switch (phase) {
    case SessionPhase::preparing: return "FREE";
    case SessionPhase::connecting: return "IN LOGIN";
    case SessionPhase::logged_in: return "LOGGED IN";
    case SessionPhase::waiting: return "TRANSPORT WAIT";
    case SessionPhase::stopping: return "IN LOGOUT";
  }
  return "";
}

std::string_view session_state(const SessionReport& session) {
  if (session.phase == SessionPhase::logged_in) return "LOGGED_IN";
  return session.established ? "FAILED" : "FREE";
}

std::string_view internal_state(const SessionReport& session) {
  switch (session.phase) {
    case SessionPhase::preparing:
    case SessionPhase::logged_in: return "NO CHANGE";
    case SessionPhase::connecting:
    case SessionPhase::waiting: return session.established ? "REOPEN" : "NO CHANGE";
    case SessionPhase::stopping: return "CLEANUP";
  }
  return "";
}

std::string_view yes_no(bool value) { return value ? "Yes" : "No"; }

int group_of(const SessionReport& session) {
  return session.info.portal_group != 0 ? session.info.portal_group : session.node.tpgt;
}

std::string_view current_address(const SessionReport& session) {
  return session.current_address.empty() ? session.node.address : session.current_address;
}

void add_interface(Text& text, const SessionReport& session) {
  const std::string& local = session.info.local_address;
  text.banner("Interface:")
      .line("\t\tIface Name: {}", or_empty(session.node.iface))
      .line("\t\tIface Transport: {}", session.transport)
      .line("\t\tIface Initiatorname: {}", or_empty(session.initiator_name))
      .line("\t\tIface IPaddress: {}", local.empty() ? std::string(empty_mark) : is_ipv6(local) ? fmt::format("[{}]", local) : local)
      .line("\t\tIface HWaddress: {}", or_empty(session.hwaddress))
      .line("\t\tIface Netdev: {}", or_empty(session.net_ifacename));
}

void add_timeouts(Text& text, const SessionTimeouts& timeouts) {
  text.banner("Timeouts:")
      .line("\t\tRecovery Timeout: {}", timeouts.recovery)
      .line("\t\tTarget Reset Timeout: {}", timeouts.target_reset)
      .line("\t\tLUN Reset Timeout: {}", timeouts.lun_reset)
      .line("\t\tAbort Timeout: {}", timeouts.abort);
}

void add_chap(Text& text, const SessionReport& session, const SecretsOf& secrets_of) {
  const bool show = static_cast<bool>(secrets_of);
  const Secrets secrets = show ? secrets_of(session.node) : Secrets{};
  // With -S iscsiadm calls the second password just "password"; who parses that, finds it here too.
  text.banner("CHAP:")
      .line("\t\tusername: {}", or_empty(session.chap_name))
      .line("\t\tpassword: {}", show ? or_empty(secrets.password) : secret_mark)
      .line("\t\tusername_in: {}", or_empty(session.chap_in_name))
      .line("\t\t{}: {}", show ? "password" : "password_in", show ? or_empty(secrets.password_in) : secret_mark);
}

void add_parameters(Text& text, const SessionReport& session) {
  text.banner("Negotiated iSCSI params:");
  if (session.phase != SessionPhase::logged_in) return;
  const SessionInfo& info = session.info;
  text.line("\t\tHeaderDigest: {}", info.header_digest)
      .line("\t\tDataDigest: {}", info.data_digest)
      .line("\t\tMaxRecvDataSegmentLength: {}", info.max_recv_data_segment_length);
  if (info.max_xmit_data_segment_length != 0) text.line("\t\tMaxXmitDataSegmentLength: {}", info.max_xmit_data_segment_length);
  text.line("\t\tFirstBurstLength: {}", info.first_burst_length)
      .line("\t\tMaxBurstLength: {}", info.max_burst_length)
      .line("\t\tImmediateData: {}", yes_no(info.immediate_data))
      .line("\t\tInitialR2T: {}", yes_no(info.initial_r2t))
      .line("\t\tMaxOutstandingR2T: {}", info.max_outstanding_r2t);
}

void add_devices(Text& text, const SessionReport& session) {
  // There is no SCSI host of the kernel: the session's number stands for it.
  text.banner("Attached SCSI devices:", 24).line("\t\tHost Number: {}\tState: running", session.sid);
  for (const auto& device : session.devices) {
    text.line("\t\tscsi{} Channel 00 Id 0 Lun: {}", session.sid, device.lun);
    if (!device.name.empty()) text.line("\t\t\tAttached scsi disk {}\t\tState: {}", device.name, device.state);
  }
}

std::vector<db::NodeKey> with_iface(std::span<const db::NodeKey> nodes, const std::string& iface) {
  std::vector<db::NodeKey> some;
  std::ranges::copy_if(nodes, std::back_inserter(some), [&](const db::NodeKey& key) { return key.iface == iface; });
  return some;
}

}  // namespace

std::string portal_text(std::string_view address, std::uint16_t port) {
  return is_ipv6(address) ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
}

std::string nodes_flat(std::span<const db::NodeKey> nodes, UnknownGroup unknown) {
  Text text;
  for (const auto& key : nodes) {
    const int group = key.tpgt == -1 && unknown == UnknownGroup::as_65535 ? 65535 : key.tpgt;
    text.line("{},{} {}", portal_text(key.address, key.port), group, key.target_name);
  }
  return text.take();
}

std::string nodes_tree(std::span<const db::NodeKey> nodes, TreeStyle style) {
  const std::string_view indent = style == TreeStyle::iface ? "\t" : "";
  Text text;
  const db::NodeKey* previous = nullptr;
  for (const auto& key : nodes) {
    const bool same_target = previous != nullptr && previous->target_name == key.target_name;
    const bool same_portal = same_target && previous->address == key.address && previous->port == key.port;
    if (!same_target) text.line("{}Target: {}", indent, key.target_name);
    if (!same_portal || style != TreeStyle::discovery) {
      text.line("{}\tPortal: {},{}", indent, portal_text(key.address, key.port), key.tpgt);
    }
    if (style != TreeStyle::iface) text.line("\t\tIface Name: {}", key.iface);
    previous = &key;
  }
  return text.take();
}

std::string node_added(const db::NodeKey& key, const db::Settings& iface) {
  const std::string_view transport = value_of(iface, "iface.transport_name");
  return fmt::format("New iSCSI node [{}:[hw={},ip={},net_if={},iscsi_if={}] {},{},{} {}] added\n",
                     transport.empty() ? "tcp" : transport, value_of(iface, "iface.hwaddress"), value_of(iface, "iface.ipaddress"),
                     value_of(iface, "iface.net_ifacename"), key.iface, key.address, key.port, key.tpgt, key.target_name);
}

std::string ifaces_flat(std::span<const db::IfaceRecord> ifaces) {
  Text text;
  for (const auto& iface : ifaces) {
    const auto field = [&](const char* key) { return or_empty(value_of(iface.settings, key)); };
    text.line("{} {},{},{},{},{}", iface.name, field("iface.transport_name"), field("iface.hwaddress"), field("iface.ipaddress"),
              field("iface.net_ifacename"), field("iface.initiatorname"));
  }
  return text.take();
}

std::string ifaces_tree(std::span<const db::IfaceRecord> ifaces, std::span<const db::NodeKey> nodes) {
  Text text;
  for (const auto& iface : ifaces) {
    text.line("Iface: {}", iface.name).append(nodes_tree(with_iface(nodes, iface.name), TreeStyle::iface));
  }
  return text.take();
}

std::string discoveries_flat(std::span<const db::DiscoveryRecord> records) {
  Text text;
  for (const auto& record : records) {
    text.line("{} via {}", portal_text(record.key.address, record.key.port), record.key.type);
  }
  return text.take();
}

std::string discoveries_tree(std::span<const db::DiscoveryRecord> records, std::span<const db::NodeKey> nodes) {
  constexpr std::string_view none = "No targets found.\n";
  Text text;
  std::set<db::NodeKey> discovered;
  const auto add_type = [&](std::string_view title, std::string_view type) {
    text.line("{}", title);
    bool any = false;
    for (const auto& record : records) {
      if (record.key.type != type) continue;
      any = true;
      discovered.insert(record.found.begin(), record.found.end());
      text.line("DiscoveryAddress: {},{}", record.key.address, record.key.port).append(nodes_tree(record.found, TreeStyle::discovery));
    }
    if (!any) text.append(none);
  };
  add_type("SENDTARGETS:", "sendtargets");
  add_type("iSNS:", "isns");
  std::vector<db::NodeKey> fixed;
  std::ranges::copy_if(nodes, std::back_inserter(fixed), [&](const db::NodeKey& key) { return !discovered.contains(key); });
  text.line("STATIC:").append(fixed.empty() ? std::string(none) : nodes_tree(fixed, TreeStyle::discovery));
  text.line("FIRMWARE:").append(none);
  return text.take();
}

std::string sessions_flat(std::span<const SessionReport> sessions) {
  Text text;
  for (const auto& session : sessions) {
    text.line("{}: [{}] {},{} {} (non-flash)", session.transport, session.sid, portal_text(session.node.address, session.node.port),
              group_of(session), session.node.target_name);
  }
  return text.take();
}

std::string sessions_tree(std::span<const SessionReport> sessions, int level, std::string_view version, const SecretsOf& secrets) {
  Text text;
  if (level >= 3) text.line("iSCSI Transport Class version {}", version).line("version {}", version);
  const SessionReport* previous = nullptr;
  for (const auto& session : sessions) {
    const bool same_target = previous != nullptr && previous->node.target_name == session.node.target_name;
    if (!same_target) text.line("Target: {} (non-flash)", session.node.target_name);
    const bool same_portal =
        same_target && current_address(*previous) == current_address(session) && previous->node.port == session.node.port;
    if (same_portal) {
      text.line("");
    } else {
      text.line("\tCurrent Portal: {},{}", portal_text(current_address(session), session.node.port), group_of(session))
          .line("\tPersistent Portal: {},{}", portal_text(session.node.address, session.node.port), group_of(session));
    }
    add_interface(text, session);
    text.line("\t\tSID: {}", session.sid)
        .line("\t\tiSCSI Connection State: {}", connection_state(session.phase))
        .line("\t\tiSCSI Session State: {}", session_state(session))
        .line("\t\tInternal iscsid Session State: {}", internal_state(session));
    if (level >= 2) {
      add_timeouts(text, session.timeouts);
      add_chap(text, session, secrets);
      add_parameters(text, session);
    }
    if (level >= 3) add_devices(text, session);
    previous = &session;
  }
  return text.take();
}

std::string session_stats(const SessionReport& session) {
  const SessionCounters& count = session.counters;
  // Counters that the session engine does not keep stay at zero, so that every line is there.
  return Text()
      .line("Stats for session {}", session_brackets(session.sid, session.node))
      .line("iSCSI SNMP:")
      .line("\ttxdata_octets: {}", count.tx_bytes)
      .line("\trxdata_octets: {}", count.rx_bytes)
      .line("\tnoptx_pdus: {}", count.nop_out)
      .line("\tscsicmd_pdus: {}", count.commands)
      .line("\ttmfcmd_pdus: {}", count.task_management)
      .line("\tlogin_pdus: {}", session.logins)
      .line("\ttext_pdus: 0")
      .line("\tdataout_pdus: 0")
      .line("\tlogout_pdus: 0")
      .line("\tsnack_pdus: 0")
      .line("\tnoprx_pdus: {}", count.nop_in)
      .line("\tscsirsp_pdus: {}", count.responses)
      .line("\ttmfrsp_pdus: 0")
      .line("\ttextrsp_pdus: 0")
      .line("\tdatain_pdus: 0")
      .line("\tlogoutrsp_pdus: 0")
      .line("\tr2t_pdus: 0")
      .line("\tasync_pdus: 0")
      .line("\trjt_pdus: 0")
      .line("\tdigest_err: 0")
      .line("\ttimeout_err: {}", count.timeouts)
      .line("iSCSI Extended:")
      .line("\tlogins: {}", session.logins)
      .line("\tsystem_calls: {}", count.system_calls)
      .take();
}

std::string node_brackets(const db::NodeKey& key) {
  return fmt::format("[iface: {}, target: {}, portal: {},{}]", key.iface, key.target_name, key.address, key.port);
}

std::string session_brackets(unsigned sid, const db::NodeKey& key) {
  return fmt::format("[sid: {}, target: {}, portal: {},{}]", sid, key.target_name, key.address, key.port);
}

nlohmann::json settings_json(const db::Settings& settings, bool show_secrets) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [key, value] : settings) {
    const bool masked = !show_secrets && !value.empty() && db::is_secret(key);
    json[key] = masked ? std::string(secret_mark) : value;
  }
  return json;
}

std::string json_text(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace mpath::adm
